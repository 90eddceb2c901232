"""Waiting for a Job: its pods tell first that they have succeeded; whatever else becomes of it, it tells itself."""

import pytest

from primage.clients.cluster import Ref
from primage.errors import PrimageError
from primage.kubernetes.readiness import State
from primage.kubernetes.waiting import state_now, wait_ready

REF = Ref("batch/v1", "Job", "job", "space")


def job(spec=None, annotations=None, **status):
    meta = {"name": "job", "namespace": "space", "uid": "u", "annotations": annotations or {}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec or {}, "status": status}


def pod(name, code=None, phase="Running", **meta):
    state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "space",
            "creationTimestamp": name,
            "ownerReferences": [{"uid": "u", "controller": True}],
            **meta,
        },
        "spec": {"restartPolicy": "Never", "containers": [{"name": "job"}]},
        "status": {"phase": phase, "containerStatuses": [{"name": "job", "state": state}]},
    }


def condition(name):
    return {"conditions": [{"type": name, "status": "True", "reason": "x", "message": "as told"}]}


class Told:
    """A cluster that tells of pods and of the Job what it was given, one state at each watch, the last for ever."""

    def __init__(self, pods, jobs):
        self._pods, self._jobs = list(pods), list(jobs)
        self.asked = 0

    def watch_all(self, *_, **__):
        yield from self._pods.pop(0) if len(self._pods) > 1 else self._pods[0]

    def watch(self, ref, *, timeout_s):
        yield self._jobs.pop(0) if len(self._jobs) > 1 else self._jobs[0]

    def get(self, ref):
        self.asked += 1
        return self._jobs[0] if ref == REF else None

    def list(self, *_, **__):
        return []

    def logs(self, *_, **__):
        return ""


def wait(cluster, obj=None):
    return wait_ready(cluster, obj or job(), timeout_s=20, report=lambda _: None)


def test_a_job_whose_pods_succeed_is_done_before_it_says_so():
    cluster = Told([[(pod("a"),), (pod("a", 0),)]], [job(active=1)])
    assert wait(cluster)["status"] == {"active": 1}


def test_pods_at_work_are_not_asked_about_one_by_one():
    pods = [tuple(pod(f"{n}", 0 if n < done else None) for n in range(100)) for done in range(101)]
    cluster = Told([pods], [job(active=100)])
    wait(cluster)
    assert cluster.asked == 1


@pytest.mark.parametrize(
    "last",
    [
        (pod("a", 3),),
        (pod("a", 0), pod("b", 3)),
        (pod("a", 0, deletionTimestamp="2026-01-01T00:00:00Z"),),
        (pod("a", 0, phase="Failed"),),
        (),
    ],
)
def test_of_any_other_end_the_job_tells_itself(last):
    with pytest.raises(PrimageError, match="as told"):
        wait(Told([[last]], [job(active=1), job(**condition("Failed"))]))
    assert wait(Told([[last]], [job(active=1), job(**condition("Complete"))]))["status"]["conditions"]


def test_pods_that_succeed_past_a_deadline_make_no_job_complete():
    cluster = Told([[(pod("a", 0),)]], [job(active=1, **condition("FailureTarget")), job(**condition("Failed"))])
    with pytest.raises(PrimageError, match="as told"):
        wait(cluster)


def test_a_session_that_ends_before_it_answers_is_not_ready():
    annotations = {"pulumi.com/waitFor": "jsonpath={.status.ready}=1"}
    ended = job(annotations=annotations, **condition("Complete"))
    with pytest.raises(PrimageError, match="it has ended"):
        wait(Told([[(pod("a", 0),)]], [ended]), job(annotations=annotations))


def test_a_job_without_pods_is_followed_until_there_are_some():
    cluster = Told([[()], [(pod("a", 0),)]], [job(), job(active=1)])
    wait(cluster)


def test_a_job_that_goes_away_is_named():
    with pytest.raises(PrimageError, match="deleted by somebody else"):
        wait(Told([[()]], [None]))


@pytest.mark.parametrize(("code", "state"), [(0, State.READY), (3, State.WAITING), (None, State.WAITING)])
def test_a_job_is_as_far_as_its_pods_are(code, state):
    class Cluster:
        def list(self, *_, **__):
            return [pod("a", code)]

    assert state_now(Cluster(), job(active=1)).state is state
