"""What a run's page shows of its queue and of what its HPC jobs have written, and how long anybody waits for that."""

import json
import subprocess
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_cluster import MemoryCluster
from portal_pages import ACCOUNT, VO, pages
from waiting import until

from portal.clients import readings, standing
from portal.clients.readings import AT_ONCE, AT_ONCE_OF_ONE, MOST_KEPT, Readings
from portal.domain.errors import RefusedError
from portal.domain.tasks import in_words, tasks_of
from portal.pages import told
from primage.clients.cluster import Ref, Refused
from primage.contract.hpc import MANAGER
from primage.contract.names import LABEL_MANAGED_BY, LABEL_QUEUE, LABEL_STACK, stack_label
from primage.errors import PrimageError
from primage.operations import logs

SPACE = "ada-at-example-dot-org"
STACK = f"htc/{SPACE}_{VO}.local--mine"
PAGE = f"/runs/{stack_label(STACK)}"
STANDING = {
    "pushed": 5,
    "waiting": 1,
    "running": 1,
    "done": 2,
    "dead": 1,
    "closed": True,
    "finished": False,
    "rate": 0.5,
    "eta_s": 240.0,
    "consumers": 1,
}


@pytest.fixture
def site(tmp_path):
    with pages(tmp_path) as running:
        running.log_in()
        yield running


def put(site, kind, name, *, api_version="v1", spec=None, status=None, **labels):
    labels = {LABEL_MANAGED_BY: "primage", LABEL_STACK: stack_label(STACK), **labels}
    made = {"name": name, "namespace": SPACE, "uid": "0123456789", "labels": labels, "creationTimestamp": "2026-01-02T03:04:05Z"}
    obj = {"apiVersion": api_version, "kind": kind, "metadata": made, "spec": spec or {}, "status": status or {}}
    site.clusters.memory.objects[Ref.of(obj)] = obj


@pytest.fixture
def queue(site):
    """A run with a queue whose server answers."""
    put(site, "Job", "words-mine-consumers", api_version="batch/v1", status={"ready": 1}, **{LABEL_QUEUE: "words-mine"})
    put(site, "StatefulSet", "words-mine-queue", api_version="apps/v1", **{LABEL_QUEUE: "words-mine"})
    put(site, "Pod", "words-mine-queue-0", status={"phase": "Running"})
    site.clusters.memory.answer = json.dumps(STANDING)
    return site


# -- a queue ---------------------------------------------------------------------------------------------------------


def test_a_run_with_a_queue_shows_how_that_stands(queue):
    text = queue.browser.get(PAGE).text
    assert "2 of 5 tasks done, 1 running, 1 waiting, 1 failed for good. About 4 minutes left, at 0.5 tasks a second." in text
    assert '<progress max="5" value="3"' in text
    assert f"primage queue dead {STACK}" in text
    assert set(queue.clusters.tokens) == {
        queue.portal.sessions.find(queue.browser.cookies["__Host-primage-session"]).tokens.id_token
    }


def test_a_run_without_a_queue_asks_none(site, monkeypatch):
    put(site, "Job", "words-mine-consumers", api_version="batch/v1", status={"ready": 1})
    monkeypatch.setattr(standing, "StackQueue", lambda *_: pytest.fail("there is none"))
    assert "Queue</h2>" not in site.browser.get(PAGE).text


def test_why_a_queue_does_not_answer_is_said(queue, monkeypatch):
    del queue.clusters.memory.objects[Ref("v1", "Pod", "words-mine-queue-0", SPACE)]
    text = queue.browser.get(PAGE).text
    assert "How it stands is not known: the queue&#39;s server" in text
    assert "does not run" in text
    monkeypatch.setattr(told, "FRESH_S", 0.0)
    put(queue, "Pod", "words-mine-queue-0", status={"phase": "Running"})
    queue.clusters.memory.answer = "<script>alert(1)</script>"
    text = queue.browser.get(PAGE).text
    assert "does not answer as one does" in text
    assert "<script>alert" not in text
    queue.clusters.memory.forbidden.add("StatefulSet")
    assert "cannot be listed" in queue.browser.get(PAGE).text


def test_a_page_does_not_wait_for_a_queue_that_is_slow_and_the_next_finds_its_answer(queue, monkeypatch):
    go = threading.Event()

    def slow(*_, **__):
        assert go.wait(60)
        return 0, json.dumps(STANDING), ""

    monkeypatch.setattr(MemoryCluster, "execute", slow)
    monkeypatch.setattr(told, "PATIENCE_S", 0.01)
    text = queue.browser.get(PAGE).text
    assert "It is being asked how it stands." in text
    assert 'data-refresh="2"' in text
    monkeypatch.setattr(told, "LATE_S", 0.0)
    assert "the queue&#39;s server has not answered for 0 s" in queue.browser.get(PAGE).text
    queue.log_in(sub="account-2")
    monkeypatch.setattr(told, "FRESH_S", 1e6)
    go.set()
    until("it has ended", lambda: queue.portal.readings.of(ACCOUNT, f"queue {stack_label(STACK)}").ended.is_set())
    queue.log_in()
    assert "2 of 5 tasks done" in queue.browser.get(PAGE).text


AMOUNTS = st.integers(0, 10**15)
TIMES = st.one_of(st.none(), st.floats(0, 1e15))


@given(st.fixed_dictionaries(dict.fromkeys(("pushed", "waiting", "running", "done", "dead"), AMOUNTS)), TIMES, st.booleans())
def test_however_a_queue_stands_there_are_words_for_what_is_left(amounts, eta, finished):
    tasks = tasks_of({**amounts, "rate": 0.25, "eta_s": eta, "finished": finished})
    assert tasks.left
    assert tasks.ended == amounts["done"] + amounts["dead"]
    assert len(tasks.left) < 100


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (119, "119 s"), (120, "2 minutes"), (7200, "2 hours"), (180_000, "2 days")]
)
def test_a_time_is_told_as_roughly_as_it_is_known(seconds, words):
    assert in_words(seconds) == words


# -- what an HPC job has written -------------------------------------------------------------------------------------


def test_what_an_hpc_job_has_written_is_read_when_asked_for_and_shown_to_who_asked(site, monkeypatch):
    put(site, "Job", "train-mine", api_version="batch/v1", spec={"managedBy": MANAGER}, status={"ready": 1})
    asked = []

    def end(cluster, job, *, most, timeout_s):
        asked.append((cluster, job, most))
        return "epoch 1\n<b>epoch 2</b>\n"

    monkeypatch.setattr(standing, "end_of_hpc", end)
    text = site.browser.get(PAGE).text
    assert "Show what it has written" in text
    assert asked == [], "a page that is looked at makes no pod"
    assert site.browser.post(f"{PAGE}/output", data={"csrf": "guessed"}).status_code == 403
    answer = site.browser.post(f"{PAGE}/output", data={"csrf": site.csrf()}, follow_redirects=False)
    assert answer.headers["location"] == PAGE
    until("it is read", lambda: site.portal.readings.of(ACCOUNT, f"output {stack_label(STACK)}").ended.is_set())
    text = site.browser.get(PAGE).text
    assert "epoch 1\n&lt;b&gt;epoch 2" in text
    assert "Read again" in text
    assert asked == [(site.clusters.memory, Ref("batch/v1", "Job", "train-mine", SPACE), told.MOST_BYTES)]
    site.log_in(sub="account-2")
    assert "epoch 1" not in site.browser.get(PAGE).text, "what one has read is not another's"


def test_why_it_cannot_be_read_is_said(site, monkeypatch):
    put(site, "Job", "train-mine", api_version="batch/v1", spec={"managedBy": MANAGER})

    def forbidden(*_, **__):
        raise Refused(403, "Forbidden", "you may not make pods")

    monkeypatch.setattr(standing, "end_of_hpc", forbidden)
    site.browser.post(f"{PAGE}/output", data={"csrf": site.csrf()})
    until("it has ended", lambda: site.portal.readings.of(ACCOUNT, f"output {stack_label(STACK)}").ended.is_set())
    assert "cannot be shown: Kubernetes refused this: you may not make pods." in site.browser.get(PAGE).text
    assert site.browser.post("/runs/nothing/output", data={"csrf": site.csrf()}).status_code == 404


class WithPods(MemoryCluster):
    """Pods run, and commands in them are this machine's."""

    def apply(self, obj, **more):
        return super().apply({**obj, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}, **more)

    def execute(self, pod, command, *, timeout_s=60):
        assert pod in self.objects
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        return done.returncode, done.stdout, done.stderr


def test_the_end_of_what_was_written_is_read_by_a_pod_that_goes_again(tmp_path, monkeypatch):
    folder = tmp_path / "jobs/train-mine/01234567"
    folder.mkdir(parents=True)
    (folder / "1.log").write_text("first attempt\n")
    (folder / "2.log").write_text("second: épreuve\n")
    (folder / "secret").write_text("no log\n")
    job = Ref("batch/v1", "Job", "train-mine", SPACE)
    cluster = WithPods()
    with pytest.raises(PrimageError, match="is gone"):
        logs.end_of_hpc(cluster, job, most=10, timeout_s=5)
    cluster.objects[job] = {"metadata": {"name": job.name, "namespace": SPACE, "uid": "0123456789"}, "spec": {}}
    place = logs.Place(SPACE, 1, 2)
    monkeypatch.setattr(logs, "_place", lambda *_: (place, "image"))
    monkeypatch.setattr(logs, "READ", logs.READ.replace("/home-private", str(tmp_path)))
    assert logs.end_of_hpc(cluster, job, most=1000, timeout_s=5) == "first attempt\nsecond: épreuve\n"
    assert logs.end_of_hpc(cluster, job, most=8, timeout_s=5) == "preuve\n".rjust(8, "\ufffd")
    assert "".join(logs._from_home(cluster, job, "jobs/train-mine/01234567", follow=False)) == "first attempt\nsecond: épreuve\n"
    assert [ref for ref in cluster.objects if ref.kind == "Pod"] == []


# -- readings --------------------------------------------------------------------------------------------------------


def test_few_readings_run_at_a_time_and_one_of_a_thing():
    several, go = Readings(), threading.Event()
    first = several.begin("ada", "x", go.wait)
    assert several.begin("ada", "x", lambda: pytest.fail("that is under way")) is first
    several.begin("ada", "y", go.wait)
    with pytest.raises(RefusedError, match="too much"):
        several.begin("ada", "z", go.wait)
    for number in range(AT_ONCE - AT_ONCE_OF_ONE):
        several.begin(f"other-{number}", "x", go.wait)
    with pytest.raises(RefusedError, match="too much"):
        several.begin("late", "x", go.wait)
    go.set()
    assert first.ended.wait(30)
    assert first.found is True


def test_readings_are_forgotten_after_a_while_and_where_there_are_many():
    now = [0.0]
    several = Readings(lambda: now[0])
    for number in range(MOST_KEPT + 5):
        assert several.begin("ada", str(number), lambda: 1).ended.wait(30)
    assert several.of("ada", "0") is None
    assert several.of("ada", str(MOST_KEPT + 4)).found == 1
    now[0] = readings.KEPT_S + 1
    assert several.of("ada", str(MOST_KEPT + 4)) is None


def test_a_reading_that_breaks_says_so_and_ends():
    def breaks():
        raise KeyError("what a pod says")

    reading = Readings().begin("ada", "x", breaks)
    assert reading.ended.wait(30)
    assert reading.problem == "the portal has failed to find out"
