"""Operations on standing stacks: from the settings, the labels and the live objects, with no engine's state at hand."""

import json
import shutil
import threading
from functools import cache, partial

import pytest
from memory_cluster import MemoryCluster

from primage.clients.cluster import Ref
from primage.components.certificates import new_authority
from primage.contract.custom_resources import made_of
from primage.contract.gateway_api import ROUTE
from primage.contract.names import ANNOTATION_OPENS
from primage.engine.api import Options
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.embedded.renderer import render
from primage.engine.ownership import SITE_KINDS, STATE_TYPE
from primage.errors import PrimageError
from primage.operations.checks import run_checks, side_by_side
from primage.operations.logs import jobs_of, read
from primage.operations.queues import StackQueue
from primage.operations.sessions import session_of
from primage.operations.stack import stack_handle
from primage.operations.status import Row, status_of
from primage.operations.why import explain, explain_object
from primage.paths import state_dir
from primage.projects.project import StackName, parse_stack_name

SPACE = "vo-dot-primage-dot-eu"
OTHER_SPACE = "training-dot-primage-dot-eu"
SITE = StackName("local")
BATCH = parse_stack_name("batch/vo.primage.eu.local--trial")
HTC = parse_stack_name("htc/vo.primage.eu.local--trial")
NOTEBOOK = parse_stack_name("notebook/vo.primage.eu.local--trial")
JOB = Ref("batch/v1", "Job", "hello-trial", SPACE)
CONSUMERS = Ref("batch/v1", "Job", "words-trial-consumers", SPACE)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path / "home"))
    found = MemoryCluster()
    monkeypatch.setattr(Clusters, "at", lambda *_: found)
    for module in ("primage.components.generated_secret", "primage.operations.site"):
        monkeypatch.setattr(f"{module}.Cluster", lambda *_: found)
    # That of the local site is there as long as the site stands.
    monkeypatch.setattr("primage.components.login_secrets.authority_in", lambda _: new_authority("here"))
    metadata = {"name": SPACE, "labels": {"primage.eu/stack": "local", "primage.eu/made-by": "site"}}
    found.put({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return found


class Elsewhere:
    """Brings stacks up as on another machine: what the engine knows of them afterwards is not here."""

    def __init__(self):
        self.ups = []
        self.at_a_time = 1

    def up(self, name, options):
        self.ups.append(name)
        result = EmbeddedEngine().up(name, options)
        shutil.rmtree(state_dir(), ignore_errors=True)
        return result

    def destroy(self, name, options):
        return EmbeddedEngine().destroy(name, options)


@cache
def offered(site):
    """A site's outputs: its program is run once, and not before each app's, as it would be on another machine."""
    return render(site, Options()).outputs


@pytest.fixture
def engine(cluster, monkeypatch):
    monkeypatch.setattr("primage.engine.embedded.engine.offline_outputs_for", lambda name: offered)
    return Elsewhere()


def labelled(stack, *, kind=("v1", "ConfigMap"), name="forged", namespace=SPACE, **more):
    """An object that somebody gave a stack's label."""
    labels = {"primage.eu/stack": str(stack).replace("/", "_"), **more.pop("labels", {})}
    metadata = {"name": name, "namespace": namespace, "labels": labels, **more.pop("metadata", {})}
    return {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, **more}


def kinds_of(stack):
    return [ref.kind for ref in map(Ref.of, stack_handle(stack).objects())]


# -- whose objects are a stack's -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stack", "count"), [(BATCH, 1), (HTC, 6), (NOTEBOOK, 7)])
def test_an_apps_objects_are_found_without_a_state(cluster, engine, stack, count):
    engine.up(stack, Options())
    other = parse_stack_name(f"{str(stack).removesuffix('trial')}other")
    engine.up(other, Options())
    found = [Ref.of(obj) for obj in stack_handle(stack).objects()]
    assert len(found) == count
    assert all("trial" in ref.name for ref in found), "the other run's are not this one's"


def site_up(cluster, engine):
    """Bring the site up, with what the authorizer makes of its tenants, as the API server notes it; the addresses of all."""
    declared = EmbeddedEngine().render(SITE, Options())
    engine.up(SITE, Options())
    tenants = made_of(declared)
    for obj in tenants:
        cluster.apply(obj, manager="primage-authorizer")
    return {Ref.of(obj) for obj in [*declared, *tenants]}


def test_a_sites_objects_are_found_across_the_cluster(cluster, engine):
    wanted = site_up(cluster, engine)
    engine.up(BATCH, Options())
    assert {Ref.of(obj) for obj in stack_handle(SITE).objects()} == wanted
    assert {(ref.api_version, ref.kind) for ref in wanted} == SITE_KINDS, "SITE_KINDS lists what a site has"


@pytest.mark.parametrize(
    "foreign",
    [
        labelled(BATCH, namespace=OTHER_SPACE),
        labelled(BATCH, kind=("v1", "Pod")),
        labelled(BATCH, kind=("v1", "PersistentVolumeClaim")),
        labelled(BATCH, kind=("v1", "Secret"), type=STATE_TYPE),
        labelled(BATCH, metadata={"ownerReferences": [{"kind": "Job", "name": "hello-trial"}]}),
        labelled("batch/vo.primage.eu.local"),
        labelled("batch/training.primage.eu.local--trial"),
    ],
)
def test_what_an_app_cannot_have_made_is_not_its_own(cluster, engine, foreign):
    engine.up(BATCH, Options())
    cluster.put(foreign)
    assert kinds_of(BATCH) == ["Job"]


def test_a_tenants_object_with_the_sites_label_is_not_the_sites(cluster, engine):
    site_up(cluster, engine)
    before = len(stack_handle(SITE).objects())
    cluster.put(labelled(SITE))
    cluster.put(labelled(SITE, kind=("batch/v1", "Job"), labels={"primage.eu/made-by": "tenant"}))
    assert len(stack_handle(SITE).objects()) == before
    assert "forged" not in json.dumps([row.as_dict() for row in status_of(stack_handle(SITE))])


def test_a_stack_of_nobody_the_site_serves_is_named(cluster):
    with pytest.raises(PrimageError, match=r"site local does not serve VO x\.eu"):
        stack_handle(parse_stack_name("batch/x.eu.local"))
    with pytest.raises(PrimageError, match="has no member somebody"):
        stack_handle(parse_stack_name("batch/somebody_vo.primage.eu.local"))
    with pytest.raises(PrimageError, match="there is no app 'nothing'"):
        stack_handle(parse_stack_name("nothing/vo.primage.eu.local"))


# -- status, why, logs -----------------------------------------------------------------------------------------------


def test_a_status_says_how_each_object_is(cluster, engine):
    assert status_of(stack_handle(HTC)) == []
    engine.up(HTC, Options())
    cluster.objects[CONSUMERS]["status"] = {"active": 2, "ready": 1}
    cluster.objects[CONSUMERS]["metadata"] |= {"deletionTimestamp": "now", "finalizers": ["foregroundDeletion"]}
    cluster.forbidden.add("Role")
    rows = {row.object: row for row in status_of(stack_handle(HTC))}
    assert rows[str(CONSUMERS)].state == "leaving"
    assert rows["Role"] == Row("Role", "hidden", "you may not list these")
    assert rows[f"StatefulSet {SPACE}/words-trial-queue"].state == "ready"


def test_a_refusal_for_another_reason_is_an_error(cluster, engine, monkeypatch):
    from primage.clients.cluster import Refused

    def refuse(*_, **__):
        raise Refused(500, "InternalError", "etcd is away")

    monkeypatch.setattr(cluster, "list", refuse)
    with pytest.raises(PrimageError, match="cannot be listed: etcd is away"):
        status_of(stack_handle(BATCH))


def test_why_of_what_is_not_up(cluster):
    (answer,) = explain(str(BATCH))
    assert (answer.state, answer.todo) == ("missing", f"run `primage up {BATCH}`")


def fail(cluster, job, written, reason="BackoffLimitExceeded"):
    """The job failed, and its pod wrote something."""
    cluster.objects[job]["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": "m"}]}
    ended = [{"name": "job", "state": {"terminated": {"exitCode": 3}}}]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{job.name}-x", "namespace": SPACE, "labels": {"batch.kubernetes.io/job-name": job.name}},
        "status": {"containerStatuses": ended},
    }
    cluster.put(pod)
    cluster.said[f"{job.name}-x"] = written


def test_why_of_a_failed_job_has_the_last_lines_of_its_pod_and_no_more(cluster, engine):
    engine.up(BATCH, Options())
    fail(cluster, JOB, "".join(f"line {n}\n" for n in range(100)) + "x" * 10_000)
    for answer in (*explain(str(BATCH)), explain(f"job/{SPACE}/{JOB.name}")[0], explain_object(cluster, JOB)):
        assert answer.state == "failed"
        assert "container job ended with status 3" in answer.reason
        assert (len(answer.lines), answer.lines[-2]) == (20, "line 99")
        assert max(map(len, answer.lines)) <= 500
        assert "above" not in answer.todo


def test_why_of_a_failed_hpc_job_has_the_lines_that_its_end_tells(cluster, engine):
    stack = parse_stack_name("hpc/vo.primage.eu.local--trial")
    engine.up(stack, Options())
    (job,) = (ref for ref in cluster.objects if ref.kind == "Job")
    told = "ended with status 3; its last lines:\n  reading slice 17\n  no such slice"
    cluster.objects[job]["status"] = {"conditions": [{"type": "Failed", "status": "True", "message": told}]}
    (answer,) = explain(str(stack))
    assert (answer.reason, answer.lines) == ("ended with status 3; its last lines:", ("reading slice 17", "no such slice"))


def test_why_of_failed_consumers_names_the_command_that_shows_what_failed(cluster, engine):
    engine.up(HTC, Options())
    fail(cluster, CONSUMERS, "argument 'carina': it ended with status 1 (dead)\n", "PodFailurePolicy")
    (answer,) = explain(str(HTC))
    assert answer.lines == ("argument 'carina': it ended with status 1 (dead)",)
    assert f"`primage queue dead {HTC}`" in answer.todo
    assert f"`primage queue retry {HTC}`" in answer.todo


def test_why_of_consumers_whose_queue_cannot_start_tells_what_keeps_it(cluster, engine):
    engine.up(HTC, Options())
    server = Ref("apps/v1", "StatefulSet", "words-trial-queue", SPACE)
    cluster.objects[server]["status"] = {"replicas": 1}
    cluster.objects[CONSUMERS]["status"] = {"active": 1, "ready": 1}
    waiting = {"name": "redis", "image": "x:1", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    labels = cluster.objects[server]["spec"]["selector"]["matchLabels"]
    meta = {"name": "words-trial-queue-0", "namespace": SPACE, "labels": labels}
    cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"containerStatuses": [waiting]}})
    answers = {answer.object: answer for answer in explain(str(HTC))}
    assert answers.keys() == {str(server), str(CONSUMERS)}
    shown = {row.object: (row.state, row.detail) for row in status_of(stack_handle(HTC))}
    assert shown[str(server)] == ("failed", answers[str(server)].reason), "status says what why says"
    assert answers[str(CONSUMERS)].reason.startswith("its queue does not answer yet: image x:1 cannot be pulled")
    assert answers[str(CONSUMERS)].state == answers[str(server)].state == "failed"


def test_why_and_logs_leave_out_what_is_not_the_stacks(cluster, engine):
    engine.up(BATCH, Options())
    cluster.put(labelled(BATCH, kind=("batch/v1", "Job"), namespace=OTHER_SPACE))
    fail(cluster, JOB, "mine\n")
    assert [answer.object for answer in explain(str(BATCH))] == [str(JOB)]
    ((there, ref),) = jobs_of(BATCH)
    assert (ref, "".join(read(there, ref, follow=False))) == (JOB, "mine\n")


def test_logs_of_a_producer_come_before_its_consumers(cluster, engine):
    engine.up(HTC, Options())
    assert [ref.name for _, ref in jobs_of(HTC)] == ["words-trial-producer", "words-trial-consumers"]


def test_logs_of_what_is_not_up_say_so(cluster):
    with pytest.raises(PrimageError, match="has no jobs"):
        jobs_of(BATCH)


# -- queues ----------------------------------------------------------------------------------------------------------


def test_a_queue_is_found_and_scaled_whatever_it_was_named_on_the_command_line(cluster, engine):
    engine.up(HTC, Options(overrides={"htc.name": "other"}))
    consumers = Ref("batch/v1", "Job", "other-trial-consumers", SPACE)
    cluster.objects[consumers]["status"] = {"active": 2}
    cluster.objects[Ref("v1", "Pod", "other-trial-queue-0", SPACE)] = {"status": {"phase": "Running"}}
    cluster.answer = "7"
    queue = StackQueue(HTC)
    assert (queue.retry(), queue.scale(5)) == (7, 2)
    assert cluster.get(consumers)["spec"]["parallelism"] == 5


@pytest.mark.parametrize(
    ("producer", "container", "finished"),
    [
        ({"active": 1}, {"running": {}}, False),
        ({"active": 1}, {"terminated": {"exitCode": 0}}, True),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, {"terminated": {"exitCode": 0}}, True),
        (None, {}, True),
    ],
    ids=["at work", "has ended, which its Job notes later", "has ended", "is gone"],
)
def test_a_queue_is_not_finished_before_this_rounds_producer_is(cluster, engine, producer, container, finished):
    engine.up(HTC, Options())
    job = Ref("batch/v1", "Job", "words-trial-producer", SPACE)
    if producer is None:
        del cluster.objects[job]
    else:
        made = cluster.objects[job]
        made["status"] = producer
        owner = {"kind": "Job", "controller": True, "name": job.name, "uid": made["metadata"]["uid"]}
        labels = {"batch.kubernetes.io/job-name": job.name}
        theirs = {"name": f"{job.name}-x", "namespace": SPACE, "labels": labels, "ownerReferences": [owner]}
        spec, status = made["spec"]["template"]["spec"], {"containerStatuses": [{"name": "producer", "state": container}]}
        cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": theirs, "spec": spec, "status": status})
    pod = {"name": "words-trial-queue-0", "namespace": SPACE}
    cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": pod, "status": {"phase": "Running"}})
    numbers = {"pushed": 3, "waiting": 0, "running": 0, "done": 3, "dead": 0, "rate": 0.0, "eta_s": None, "consumers": 0}
    cluster.answer = json.dumps({**numbers, "closed": True, "finished": True})
    assert StackQueue(HTC).standing()["finished"] is finished


def test_a_stack_without_a_queue_has_none(cluster, engine):
    engine.up(BATCH, Options())
    cluster.put(labelled(BATCH, kind=("apps/v1", "StatefulSet"), name="mine", labels={"primage.eu/queue": "theirs"}))
    for stack in (BATCH, HTC):
        with pytest.raises(PrimageError, match="has no queue"):
            StackQueue(stack)


def test_of_two_queues_none_is_believed(cluster, engine):
    engine.up(HTC, Options())
    labels = {"primage.eu/queue": "forged"}
    cluster.put(labelled(HTC, kind=("apps/v1", "StatefulSet"), name="forged-queue", labels=labels, namespace=OTHER_SPACE))
    StackQueue(HTC)
    cluster.put(labelled(HTC, kind=("apps/v1", "StatefulSet"), name="forged-queue", labels=labels))
    with pytest.raises(PrimageError, match=r"more than one queue: .*words-trial-queue.*forged-queue"):
        StackQueue(HTC)


def test_a_job_that_only_has_the_consumers_name_is_not_scaled(cluster, engine):
    engine.up(HTC, Options())
    cluster.objects[CONSUMERS]["metadata"]["labels"]["primage.eu/stack"] = "htc_vo.primage.eu.local--other"
    with pytest.raises(PrimageError, match="is not there"):
        StackQueue(HTC).scale(3)


# -- sessions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stack", "settings", "page"),
    [
        (
            NOTEBOOK,
            {"notebook.folder": "HOME/shared/a b", "notebook.login": False},
            (8888, "/notebook-trial/lab/tree/HOME/shared/a%20b"),
        ),
        (parse_stack_name("web/vo.primage.eu.local--trial"), {"web.name": "pages", "web.login": False}, (8080, "/pages-trial/")),
        (parse_stack_name("desktop/vo.primage.eu.local--trial"), {"desktop.login": False}, (8080, "/desktop-trial/")),
    ],
)
def test_a_session_says_which_page_opens(cluster, engine, stack, settings, page):
    engine.up(stack, Options(overrides=settings))
    session = session_of(stack, engine, Options())
    assert (session.port, session.path) == page
    assert session.url(1).startswith(f"http://127.0.0.1:1{page[1]}?token=")
    assert session.address == ""
    assert engine.ups == [stack], "what runs is not brought up again"


def test_a_session_with_a_login_opens_where_the_sites_settings_say(cluster, engine):
    engine.up(NOTEBOOK, Options())
    cluster.objects[Ref(ROUTE.api_version, ROUTE.kind, "notebook-trial", SPACE)]["spec"]["hostnames"] = ["evil.example"]
    session = session_of(NOTEBOOK, engine, Options())
    assert session.address == f"https://{SPACE}.primage.localhost:30445/notebook-trial/lab/tree/HOME/private"


SESSION = Ref("batch/v1", "Job", "notebook-trial", SPACE)


@pytest.mark.parametrize("ended", [{"conditions": [{"type": "Complete", "status": "True"}]}, None])
def test_a_session_that_has_ended_is_started_anew(cluster, engine, ended):
    engine.up(NOTEBOOK, Options())
    if ended:
        cluster.objects[SESSION]["status"] = ended
    else:
        del cluster.objects[SESSION]
    assert session_of(NOTEBOOK, engine, Options()).runs()
    assert engine.ups == [NOTEBOOK, NOTEBOOK]


@pytest.mark.parametrize(
    "page",
    [
        "",
        "8888/",
        ":0/",
        ":65536/",
        ":22",
        ":8888@elsewhere.eu/",
        ':8888/"><script>',
        ":8888/" + "x" * 1001,
        ":8888/\n",
        ":\uff18/",
    ],
)
def test_a_page_that_is_none_is_not_opened(cluster, engine, page):
    engine.up(NOTEBOOK, Options())
    cluster.objects[SESSION]["metadata"]["annotations"][ANNOTATION_OPENS] = page
    with pytest.raises(PrimageError, match="does not say which page of which port"):
        session_of(NOTEBOOK, engine, Options())


def test_the_token_is_never_another_secrets(cluster, engine):
    """A forged Job cannot name a Secret, and a token of Kubernetes' own is none of a session's."""
    engine.up(NOTEBOOK, Options())
    private = {"primage.eu/private": "true"}
    cluster.put(labelled(NOTEBOOK, kind=("v1", "Secret"), name="robot", labels=private, type="kubernetes.io/service-account-token"))
    assert session_of(NOTEBOOK, engine, Options()).secret.name == "notebook-trial"
    cluster.put(labelled(NOTEBOOK, kind=("v1", "Secret"), name="theirs", labels=private))
    cluster.objects[Ref("v1", "Secret", "theirs", SPACE)]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert session_of(NOTEBOOK, engine, Options()).secret.name == "notebook-trial", "one that is on its way out does not count"
    del cluster.objects[Ref("v1", "Secret", "theirs", SPACE)]["metadata"]["deletionTimestamp"]
    with pytest.raises(PrimageError, match="more than one session"):
        session_of(NOTEBOOK, engine, Options())


@pytest.mark.parametrize("stack", [BATCH, HTC, NOTEBOOK])
def test_what_has_no_session_is_not_opened(cluster, engine, stack):
    if stack is not NOTEBOOK:
        engine.up(stack, Options())
    engine.ups.clear()
    with pytest.raises(PrimageError, match="has nothing to open"):
        session_of(stack, engine, Options())
    assert engine.ups == []


# -- check -----------------------------------------------------------------------------------------------------------


def test_checks_use_the_engine_they_are_given_and_leave_nothing(cluster, engine, monkeypatch):
    monkeypatch.setattr(cluster, "raw", lambda _: "ok", raising=False)
    site_up(cluster, engine)
    before = set(cluster.objects)
    checks = {check.name: check for check in run_checks("local", engine, lambda _: None)}
    assert checks["batch job vo.primage.eu"].ok
    assert checks["volumes vo.primage.eu"].ok
    assert not checks["nodes"].ok, "there are none"
    assert not checks["queue vo.primage.eu"].ok, "its server does not run here"
    assert {str(name) for name in engine.ups[1:]} >= {"batch/vo.primage.eu.local--check", "htc/vo.primage.eu.local--check"}
    assert set(cluster.objects) == before


@pytest.mark.parametrize("at_a_time", [1, 3])
def test_as_many_jobs_are_tried_side_by_side_as_the_engine_can(at_a_time):
    together, guard, most = set(), threading.Lock(), []
    met = threading.Barrier(at_a_time)

    def trial(number):
        with guard:
            together.add(number)
            most.append(len(together))
        met.wait(10)  # all of them at once, or this fails
        with guard:
            together.remove(number)
        return True, ""

    trials = [(str(number), partial(trial, number)) for number in range(6)]
    assert [check.name for check in side_by_side(trials, at_a_time, threading.Event())] == [name for name, _ in trials]
    assert max(most) == at_a_time


def test_checks_that_are_interrupted_end_what_runs_and_begin_nothing_more():
    given_up, begun = threading.Event(), []

    def trial(number):
        begun.append(number)
        if number:
            assert given_up.wait(30), "nobody tells it"
        return True, ""

    checks = side_by_side([(str(number), partial(trial, number)) for number in range(20)], 2, given_up)
    assert next(checks).name == "0"
    with pytest.raises(KeyboardInterrupt):
        checks.throw(KeyboardInterrupt)
    assert len(begun) <= 4
