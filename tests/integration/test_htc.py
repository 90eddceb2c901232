"""High-throughput applications on the standing site: used, scaled, broken, released."""

import base64
import gzip
import os
import shutil
import threading
from pathlib import Path

import hpc_machine
import pytest
from machine import output_on

from htc_queue.clients import Queue, RedisError
from primage.clients.cluster import Ref
from primage.clients.port_forward import PortForward
from primage.components.queues.queue import PORT
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.kubernetes.waiting import pods_of
from primage.operations.queues import StackQueue
from primage.operations.site import usual_site
from primage.projects.project import parse_stack_name

VO = "vo-dot-primage-dot-eu"
STACK = parse_stack_name("htc/vo.primage.eu.local--test")
QUEUE = Ref("v1", "Secret", "words-test-queue", VO)
HOME = Path("/var/lib/primage/local/shared/home/vo.primage.eu/private/vo.primage.eu")
"""What the VO's jobs have as HOME."""
UID, GID = 10001, 20001


@pytest.fixture
def engine(site):
    found = EmbeddedEngine()
    yield found
    found.destroy(STACK, Options())


def settings(arguments, script, **more):
    consumer = {
        "image": "primage/base:1",
        "command": ["sh", "-c", script, "x"],
        "cpu": "250m",
        "memory": "64Mi",
        "visibility_seconds": 3,
        **more.pop("consumer", {}),
    }
    producer = {"arguments": [str(a) for a in arguments], "cpu": "250m"}
    return Options(overrides={"htc": {"name": "words", "parallelism": 2, "producer": producer, "consumer": consumer, **more}})


class Running:
    """`up` in a thread of its own, since it returns when the application has ended."""

    def __init__(self, options):
        self.error = None
        self._thread = threading.Thread(target=self._up, args=(options,), daemon=True)
        self._thread.start()

    def _up(self, options):
        try:
            self.result = EmbeddedEngine().up(STACK, options)
        except PrimageError as error:
            self.error = error

    def wait(self):
        self._thread.join(timeout=240)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error
        return self.result


class Looks:
    """How the queue stands, by a connection from here: `StackQueue` starts a Python in the queue's pod for each answer."""

    def __init__(self, cluster, port, folder):
        self._cluster, self._folder = cluster, folder
        self._address = f"rediss://localhost:{port}"
        self._queue = None

    def standing(self):
        """None while the queue is not there, or does not answer; each call connects anew where it must."""
        self._queue = self._queue or self._client()
        try:
            return self._queue and self._queue.open().standing()
        except RedisError:
            return None

    def _client(self):
        secret = self._cluster.get(QUEUE)
        if secret is None:
            return None
        for name in ("password", "ca.crt"):
            (self._folder / name).write_bytes(base64.b64decode(secret["data"][name]))
        return Queue(self._address, self._folder, hasty_s=5)


@pytest.fixture
def looks(cluster, tmp_path):
    with PortForward(cluster, Ref("v1", "Pod", "words-test-queue-0", VO), PORT) as forward:
        yield Looks(cluster, forward.port, tmp_path)


def until(looks, condition):
    hpc_machine.until("the queue stands as it should", lambda: (standing := looks.standing()) and condition(standing), 90)


@pytest.mark.alone
def test_killed_pods_redis_and_kubelets_lose_nothing(engine, cluster, looks):
    count = 60
    script = 'sleep 0.4; printf "%s\\n" "$1"'
    running = Running(settings(range(count), script, consumer={"output": "htc-test/{key}", "tries": 20}))
    until(looks, lambda queue: queue.done >= 5)
    job = Ref("batch/v1", "Job", "words-test-consumers", VO)
    cluster.delete(Ref.of({"apiVersion": "v1", "kind": "Pod", **pods_of(cluster, job)[0]}), propagation="Background")
    until(looks, lambda queue: queue.done >= 15)
    kill("redis-server")
    until(looks, lambda queue: queue.done >= 20)
    kill("kubelet")
    until(looks, lambda queue: queue.done >= 25)
    assert StackQueue(STACK).scale(4) == 2
    running.wait()
    standing = StackQueue(STACK).standing()
    assert (standing["pushed"], standing["done"], standing["dead"], standing["finished"]) == (count, count, 0, True)
    assert cluster.get(job)["spec"]["parallelism"] == 4
    listed = batch_says(engine, 'cat "$HOME"/htc-test/* | sort -n; rm -r "$HOME/htc-test"')
    assert listed.split() == [str(n) for n in range(count)]


def test_the_only_consumer_ended_by_somebody_ends_nothing(engine, cluster, looks):
    """As on a node that is drained: it is asked to stop, gives back what it has, and another goes on."""
    until_gate = 'until [ -e "$HOME/htc-ended" ]; do sleep 0.2; done'
    running = Running(settings(range(3), until_gate, parallelism=1))
    until(looks, lambda queue: queue.running == 1)
    job = Ref("batch/v1", "Job", "words-test-consumers", VO)
    (pod,) = pods_of(cluster, job)
    cluster.delete(Ref("v1", "Pod", pod["metadata"]["name"], VO), propagation="Background")
    touch("htc-ended")
    running.wait()
    standing = StackQueue(STACK).standing()
    assert (standing["done"], standing["dead"], standing["waiting"], standing["finished"]) == (3, 0, 0, True)
    assert cluster.get(job)["status"].get("failed", 0) == 0
    (HOME / "htc-ended").unlink()


def kill(program):
    """On both machines, from outside its container: inside, nobody may kill process 1."""
    script = f'for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = {program} ] && kill -9 ${{p#/proc/}}; done; true'
    for machine in ("front", "worker-1"):
        output_on(f"primage-local-{machine}", "sh", "-c", script)


def touch(name):
    """Make a file that the VO's jobs wait for, as their account."""
    (HOME / name).touch()
    os.chown(HOME / name, UID, GID)


def batch_says(engine, script):
    """What a batch job of the VO prints."""
    stack = parse_stack_name("batch/vo.primage.eu.local--htc")
    job = {"name": "look", "image": "primage/base:1", "command": ["sh", "-c", script], "cpu": "100m", "memory": "64Mi"}
    try:
        engine.up(stack, Options(overrides={"job": job}))
        ref = Ref("batch/v1", "Job", "look-htc", VO)
        cluster = usual_site().cluster
        return cluster.logs(VO, pods_of(cluster, ref)[-1]["metadata"]["name"], tail=10_000)
    finally:
        engine.destroy(stack, Options())


def test_the_number_of_consumers_follows_the_queue_s_length(engine, cluster, looks):
    push = "printf '%s\\n' 1 2 3 | primage-queue push; until [ -e \"$HOME/htc-gate/more\" ]; do sleep 0.2; done >&2; echo 4"
    options = settings([], 'mkdir -p "$HOME/htc-gate"; until [ -e "$HOME/htc-gate/open" ]; do sleep 0.2; done')
    options.overrides["htc"] |= {
        "parallelism": 0,
        "producer": {"command": ["sh", "-c", push], "cpu": "250m"},
        "scaling": {"minimum": 0, "maximum": 3, "calm_seconds": 2},
    }
    running = Running(options)
    until(looks, lambda queue: queue.running == 3)
    queue = StackQueue(STACK)
    assert queue.standing()["parallelism"] == 3
    with pytest.raises(PrimageError, match="scaled by the length of its queue"):
        queue.scale(1)
    job = Ref("batch/v1", "Job", "words-test-consumers", VO)
    pod = next(p for p in pods_of(cluster, job) if p["status"]["phase"] == "Running")
    code, _, said = cluster.execute(Ref("v1", "Pod", pod["metadata"]["name"], VO), ["sh", "-c", 'touch "$HOME/htc-gate/open"'])
    assert code == 0, said
    until(looks, lambda queue: (queue.done, cluster.get(job)["spec"]["parallelism"]) == (3, 0))
    assert cluster.get(job)["status"].get("failed", 0) == 0, "a consumer that was no longer needed counts as a failure"
    touch("htc-gate/more")
    running.wait()
    assert StackQueue(STACK).standing()["done"] == 4
    assert engine.preview(STACK, options).changed() == []
    shutil.rmtree(HOME / "htc-gate")


def test_dead_letters_fail_the_application_and_can_be_retried(engine, cluster):
    good_if = '[ "$1" != bad ] || [ -e "$HOME/htc-mended" ] || (echo "no slice 17 in $1" >&2; exit 4)'
    options = settings(["good", "bad"], good_if, consumer={"tries": 2})
    with pytest.raises(PrimageError, match="1 dead letter:"):
        engine.up(STACK, options)
    queue = StackQueue(STACK)
    (letter,) = queue.letters()
    assert (letter["argument"], letter["tries"]) == ("bad", 2)
    assert "no slice 17 in bad" in letter["tail"]
    with pytest.raises(PrimageError, match="has ended"):
        queue.scale(3)
    touch("htc-mended")
    assert queue.retry() == 1
    engine.up(STACK, options)
    assert StackQueue(STACK).standing()["done"] == 2
    (HOME / "htc-mended").unlink()


def test_released_in_one_go_and_a_new_one_starts_empty(engine, cluster):
    engine.up(STACK, settings(["a"], "true"))
    password = cluster.get(QUEUE)["data"]["password"]
    engine.destroy(STACK, Options())
    assert cluster.get(QUEUE) is None
    labels = "primage.eu/queue=words-test"
    for api, kind in (("v1", "Pod"), ("batch/v1", "Job"), ("apps/v1", "StatefulSet"), ("v1", "Service"), ("v1", "Secret")):
        assert cluster.list(api, kind, VO, labels=labels) == [] or kind == "Pod"
    engine.up(STACK, settings(["b"], "true"))
    standing = StackQueue(STACK).standing()
    assert (standing["pushed"], standing["done"]) == (1, 1)
    assert cluster.get(QUEUE)["data"]["password"] != password


def test_nobody_gets_in_without_the_password_and_nothing_is_said_in_the_clear(engine, cluster, tmp_path):
    engine.up(STACK, settings(["a"], "true"))
    pod = Ref("v1", "Pod", "words-test-queue-0", VO)

    def said(script):
        code, out, err = cluster.execute(pod, ["sh", "-c", script])
        return code, out + err

    tls = 'redis-cli --tls --cacert "$SECRETS/ca.crt" -h localhost'
    assert "NOAUTH" in said(f"{tls} ping")[1]
    assert "WRONGPASS" in said(f"REDISCLI_AUTH=guess {tls} --user queue ping")[1]
    assert "PONG" not in said("redis-cli -h localhost ping")[1], "it answers without TLS"
    assert "NOPERM" in said(f'REDISCLI_AUTH="$(cat $SECRETS/password)" {tls} --user queue --no-auth-warning flushall')[1]
    kept = [secret for secret in cluster.list("v1", "Secret", VO) if secret.get("type") == "primage.eu/state"]
    state = "".join(gzip.decompress(base64.b64decode(secret["data"]["state"])).decode() for secret in kept)
    assert "words-test-queue" in state
    for value in cluster.get(QUEUE)["data"].values():
        lines = base64.b64decode(value).decode().splitlines()
        assert lines[len(lines) // 2] not in state


def test_a_second_up_changes_nothing_and_one_with_more_arguments_does_those(engine):
    script = 'echo "$1" >> "$HOME/htc-rounds"'
    options = settings(["a", "b"], script)
    engine.up(STACK, options)
    assert engine.preview(STACK, options).changed() == []
    assert engine.up(STACK, options).changed() == []
    engine.up(STACK, settings(["b", "c", "d"], script))
    assert sorted(batch_says(engine, 'cat "$HOME/htc-rounds"; rm "$HOME/htc-rounds"').split()) == ["a", "b", "c", "d"]
    assert (StackQueue(STACK).standing()["done"], StackQueue(STACK).standing()["finished"]) == (4, True)


def test_a_consumer_image_that_is_absent_is_said_at_once(engine):
    with pytest.raises(PrimageError, match=r"image [0-9.:]+/primage/none:1 cannot be pulled"):
        engine.up(STACK, settings(["a"], "true", consumer={"image": "primage/none:1"}))


def test_a_producer_that_finds_nothing_says_so(engine):
    options = settings(["a"], "true")
    options.overrides["htc"]["producer"] = {"files": "no/such/*.csv"}
    with pytest.raises(PrimageError, match=r"no file below HOME/private matches no/such/\*\.csv"):
        engine.up(STACK, options)


def test_another_vo_has_its_own_queue_of_the_same_name(engine, cluster):
    """Two namespaces, two secrets: one VO's pods cannot even name the other's."""
    other = parse_stack_name("htc/training.primage.eu.local--test")
    options = settings(["a"], "true")
    engine.up(STACK, options)
    try:
        engine.up(other, options)
        theirs = cluster.get(Ref("v1", "Secret", "words-test-queue", "training-dot-primage-dot-eu"))
        assert theirs["data"]["password"] != cluster.get(QUEUE)["data"]["password"]
    finally:
        engine.destroy(other, options)
    assert cluster.get(QUEUE) is not None
