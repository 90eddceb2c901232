"""The queue on a real Redis, with processes killed at bad moments: nothing lost, nothing twice."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from htc_queue.clients import Queue
from htc_queue.domain import Patience, QueueError, digest
from primage.images import storage
from primage.images.catalogue import QUEUE
from primage.process import capture

ROOT = Path(__file__).resolve().parents[2]
NAME = "primage-queue-test"
PATIENCE = ("--visibility", "2")


def podman(*arguments):
    return capture(["podman", *arguments], env=storage.environment(), timeout_s=60)


@pytest.fixture(scope="module")
def server(site, tmp_path_factory):
    """Redis as the queue's image has it, on a socket in a folder: no network at all."""
    folder = tmp_path_factory.mktemp("redis")
    folder.chmod(0o777)
    command = [
        "redis-server", "--port", "0", "--unixsocket", "/data/redis.sock", "--unixsocketperm", "777", "--dir", "/data",
        "--appendonly", "yes", "--appendfsync", "always", "--save", "",
    ]  # fmt: skip
    subprocess.run(["podman", "rm", "-f", NAME], env={**os.environ, **storage.environment()}, capture_output=True, timeout=60)
    podman(
        "run", "-d", "--name", NAME, "--network", "none", "-v", f"{folder}:/data", "--entrypoint", command[0], QUEUE, *command[1:]
    )
    yield f"unix://{folder}/redis.sock"
    podman("rm", "-f", "-t", "0", NAME)


@pytest.fixture
def queue(server, monkeypatch):
    monkeypatch.setenv("PRIMAGE_QUEUE", server)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "services/htc_queue"))
    found = Queue(server)
    found._redis.flushall()
    return found.open()


def tool(*arguments, stdin=None, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "htc_queue", *arguments], input=stdin, capture_output=True, timeout=120, check=False
    )
    assert not check or done.returncode == 0, done.stderr.decode()
    return done


def consumer(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "htc_queue", "run", *PATIENCE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def test_each_argument_is_dealt_with_once(queue, tmp_path):
    tool("push", "--close", stdin=b"\n".join(b"%d" % n for n in range(200)))
    workers = [consumer("--output", f"{tmp_path}/{{key}}", "--", "echo") for _ in range(3)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
    assert sorted(int(path.read_text()) for path in tmp_path.iterdir()) == list(range(200))
    standing = queue.standing()
    assert (standing.done, standing.dead, standing.running, standing.finished) == (200, 0, 0, True)


HOSTILE = [
    b"'; rm -rf /; echo '", b'"quoted" $(id) `id` ${HOME}', b"two\nlines\n", b"-n", b"--help", b"{}", b"\xff\xfe not text",
    " sp\u00e4ce and \u2603".encode(), b"\\0 \\n %s *",
]  # fmt: skip


def test_hostile_arguments_arrive_as_they_are(queue, tmp_path):
    tool("push", "-0", "--close", stdin=b"\0".join(HOSTILE))
    script = "import sys, os; sys.stdout.buffer.write(os.fsencode(sys.argv[1]))"
    assert consumer("--output", f"{tmp_path}/{{key}}", "--", sys.executable, "-c", script).wait(timeout=60) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {digest(a).hex(): a for a in HOSTILE}


def test_a_mebibyte_and_a_nul_go_by_standard_input_and_by_command_line_are_dead_at_once(queue, tmp_path):
    arguments = [b"x" * 1024 * 1024, b"nul\0inside"]
    queue.push(arguments)
    queue.close()
    assert tool("run", *PATIENCE, "--", "true", check=False).returncode == 3
    assert {letter.tries for letter in queue.letters(10)} == {1}
    assert all("--stdin" in letter.error for letter in queue.letters(10))
    assert queue.retry() == 2
    tool("run", *PATIENCE, "--stdin", "--output", f"{tmp_path}/{{key}}", "--", "cat")
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == sorted(arguments)


def test_an_unfit_argument_does_not_take_its_batch_along(queue):
    queue.push([b"nul\0inside", *(b"%d" % n for n in range(5))])
    queue.close()
    assert tool("run", *PATIENCE, "-n", "6", "--", "true", check=False).returncode == 3
    assert (queue.standing().done, queue.standing().dead) == (5, 1)


def test_too_long_an_argument_is_refused_and_nothing_of_the_lot_is_pushed(queue):
    done = tool("push", stdin=b"good\n" + b"x" * (1024 * 1024 + 1), check=False)
    assert done.returncode == 1
    assert b"push the file's path" in done.stderr
    assert queue.standing().pushed == 0


def test_killed_consumers_lose_nothing_and_do_nothing_twice(queue, tmp_path):
    wanted = 150
    queue.push(b"%d" % n for n in range(wanted))
    queue.close()
    command = ("--output", f"{tmp_path}/{{key}}", "--tries", "50", "--", "sh", "-c", 'sleep 0.02; echo "$1"', "x")
    workers = [consumer(*command) for _ in range(3)]
    chance = random.Random(4)
    for _ in range(8):
        until(lambda: queue.standing().running > 0 or queue.standing().finished)
        victim = chance.randrange(len(workers))
        workers[victim].kill()
        workers[victim].wait()
        workers[victim] = consumer(*command)
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0, 0]
    whole = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert sorted(int(path.read_text()) for path in whole) == list(range(wanted))
    standing = queue.standing()
    assert (standing.pushed, standing.done, standing.dead) == (wanted, wanted, 0)


def test_a_killed_producer_is_run_again(queue):
    lines = b"\n".join(b"argument %d" % n for n in range(40_000))
    first = subprocess.Popen([sys.executable, "-m", "htc_queue", "push", "--close"], stdin=subprocess.PIPE)
    first.stdin.write(lines)
    first.stdin.close()
    until(lambda: queue.standing().pushed > 0)
    first.kill()
    first.wait()
    before = queue.standing()
    assert before.pushed < 40_000, "it was too fast to be killed half-way, so this proves nothing"
    tool("push", "--close", stdin=lines)
    assert queue.standing().pushed == 40_000
    assert queue.standing().closed


def test_redis_killed_while_pushing_and_pulling(queue, tmp_path):
    queue.push(b"%d" % n for n in range(120))
    queue.close()
    workers = [consumer("--output", f"{tmp_path}/{{key}}", "--", "sh", "-c", 'sleep 0.03; echo "$1"', "x") for _ in range(2)]
    for threshold in (10, 50, 90):
        until(lambda least=threshold: queue.standing().done >= least)
        podman("kill", "-s", "KILL", NAME)
        until(lambda: "running" not in podman("inspect", "-f", "{{.State.Status}}", NAME))
        podman("start", NAME)
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    standing = queue.standing()
    assert (standing.pushed, standing.done, standing.dead, standing.finished) == (120, 120, 0, True)
    assert sorted(int(p.read_text()) for p in tmp_path.iterdir()) == list(range(120))


def test_what_fails_for_good_is_kept_with_its_reason(queue):
    queue.push([b"good", b"bad"])
    queue.close()
    script = 'echo "looking at $1"; [ "$1" = good ] || { echo "no such patient" >&2; exit 7; }'
    done = tool("run", *PATIENCE, "--tries", "2", "--", "sh", "-c", script, "x", check=False)
    assert done.returncode == 3
    (letter,) = queue.letters(10)
    assert (letter.argument, letter.tries, letter.error) == (b"bad", 2, "its command ended with status 7")
    assert "looking at bad" in letter.tail
    assert "no such patient" in letter.tail
    assert queue.standing().finished
    assert json.loads(tool("dead", "--json").stdout)["argument"] == "bad"
    assert tool("retry").stdout == b"1\n"
    assert not queue.standing().finished
    tool("run", *PATIENCE, "--", "true")
    assert queue.standing().dead == 0


def test_a_consumer_that_dies_each_time_is_no_endless_loop(queue):
    queue.push([b"poison"])
    queue.close()
    for _ in range(2):
        worker = consumer("--tries", "2", "--", "sh", "-c", "kill -9 $PPID")
        assert worker.wait(timeout=60) == -signal.SIGKILL
    assert tool("run", *PATIENCE, "--tries", "2", "--", "true", check=False).returncode == 3
    assert "died each time" in queue.letters(1)[0].error


def test_a_long_run_is_kept_by_its_consumer(queue):
    """Longer than the visibility: without the heartbeat the other one would take it."""
    queue.push([b"long"])
    queue.close()
    workers = [consumer("--", "sh", "-c", "echo begun; sleep 5") for _ in range(2)]
    written = [worker.communicate(timeout=60)[0].decode() for worker in workers]
    assert sum(text.count("begun") for text in written) == 1
    assert queue.standing().done == 1


def test_a_stopped_consumer_gives_back_what_it_has(queue):
    queue.push([b"one"])
    worker = consumer("--tries", "1", "--", "sh", "-c", "sleep 60")
    until(lambda: queue.standing().running == 1)
    worker.terminate()
    assert worker.wait(timeout=20) == 0
    queue.close()
    tool("run", *PATIENCE, "--tries", "1", "--", "true")
    assert (queue.standing().done, queue.standing().dead) == (1, 0)


def test_a_run_that_takes_too_long_is_ended_with_its_children(queue, tmp_path):
    queue.push([b"slow"])
    queue.close()
    script = f"sh -c 'echo $$ > {tmp_path}/pid; trap \"\" TERM; while :; do sleep 1; done' & wait"
    done = tool("run", *PATIENCE, "--tries", "1", "--timeout", "1", "--", "sh", "-c", script, check=False)
    assert done.returncode == 3
    assert queue.letters(1)[0].error == "it ran longer than 1 s"
    child = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2])


def test_a_child_that_keeps_the_pipe_open_does_not_hold_the_queue_up(queue):
    queue.push([b"a"])
    queue.close()
    started = subprocess.run(
        [sys.executable, "-m", "htc_queue", "run", *PATIENCE, "--", "sh", "-c", "sleep 300 & echo $!"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    os.kill(int(started.stdout.split()[0]), signal.SIGKILL)
    assert queue.standing().done == 1


def test_a_closed_queue_takes_nothing_new(queue):
    queue.push([b"a"])
    queue.close()
    assert queue.push([b"a"]) == 0
    with pytest.raises(QueueError, match="closed"):
        queue.push([b"b"])


def test_who_was_too_slow_does_not_count_twice(queue):
    queue.push([b"a"])
    patience = Patience(0.05, 5)
    (mine,), _ = queue.take("slow", 1, patience, look_for_silent=True)
    until(lambda: queue._redis.xpending_range("arguments", "consumers", "-", "+", 1)[0]["time_since_delivered"] > 60)
    (theirs,), _ = queue.take("quick", 1, patience, look_for_silent=True)
    assert theirs.tries == 2
    assert queue.keep("slow", [mine]) == [mine.id]
    assert queue.fail("slow", mine, patience, "too late", "") == "lost"
    assert queue.finish([theirs]) == 1
    assert queue.finish([mine]) == 0
    assert queue.standing().done == 1


def test_a_python_function_is_loaded_once(queue, tmp_path, monkeypatch):
    (tmp_path / "work.py").write_text(
        f"open({str(tmp_path / 'loads')!r}, 'a').write('x')\n"
        f"def deal(argument):\n    if argument == '3':\n        raise ValueError('not a three')\n"
        f"    open({str(tmp_path)!r} + '/' + argument, 'w').write(argument)\n"
    )
    queue.push(b"%d" % n for n in range(5))
    queue.close()
    monkeypatch.chdir(tmp_path)
    assert tool("run", *PATIENCE, "--tries", "1", "--call", "work:deal", check=False).returncode == 3
    assert (tmp_path / "loads").read_text() == "x"
    assert sorted(path.name for path in tmp_path.glob("[0-9]")) == ["0", "1", "2", "4"]
    assert queue.letters(1)[0].error == "ValueError: not a three"
    assert "in deal" in queue.letters(1)[0].tail


def test_an_address_where_nothing_is_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("PRIMAGE_QUEUE", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "services/htc_queue"))
    done = tool("status", check=False)
    assert done.returncode == 1
    assert b"PRIMAGE_QUEUE is not set" in done.stderr


class Strained:
    """Another Redis, on a disk of three mebibytes and with a clock of its own."""

    NAME = "primage-queue-strained"

    def __init__(self, folder):
        self.disk, self.clock = folder / "disk", folder / "clock"
        self.address = f"unix://{self.disk}/redis.sock"
        for path in (self.disk, self.clock):
            path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=777", "tmpfs", self.disk], check=True, timeout=30)
        compile_ = ["gcc", "-shared", "-fPIC", "-O2", "-o", self.clock / "clock.so", ROOT / "tests/helpers/clock.c"]
        subprocess.run(compile_, check=True, timeout=60)
        self.set_clock(0)
        podman(
            "run", "-d", "--name", self.NAME, "--network", "none", "-v", f"{self.disk}:/data", "-v", f"{self.clock}:/clock:ro",
            "-e", "LD_PRELOAD=/clock/clock.so",
            "--entrypoint", "redis-server", QUEUE, "--port", "0", "--unixsocket", "/data/redis.sock", "--unixsocketperm", "777",
            "--dir", "/data", "--appendonly", "yes", "--appendfsync", "always", "--save", "",
        )  # fmt: skip

    def set_clock(self, seconds):
        new = self.clock / "new"
        new.write_text(str(seconds))
        new.replace(self.clock / "offset")

    def runs(self):
        return podman("inspect", "-f", "{{.State.Status}}", self.NAME).strip() == "running"

    def end(self):
        podman("rm", "-f", "-t", "0", self.NAME)
        subprocess.run(["umount", self.disk], check=True, timeout=30)


@pytest.fixture
def strained(site, tmp_path, monkeypatch):
    if shutil.which("gcc") is None:
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "gcc", "libc6-dev"]):
            subprocess.run(["apt-get", "-qq", *command], capture_output=True, timeout=600, check=True)
    found = Strained(tmp_path)
    monkeypatch.setenv("PRIMAGE_QUEUE", found.address)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "services/htc_queue"))
    try:
        until(Path(found.address.removeprefix("unix://")).exists)
        yield found
    finally:
        found.end()


def fill(ballast):
    with contextlib.suppress(OSError), ballast.open("wb") as stream:
        while True:
            stream.write(bytes(65536))
            stream.flush()


def test_a_full_disk_stops_the_queue_and_loses_nothing_that_was_pushed(strained):
    queue = Queue(strained.address).open()
    queue.push([b"before"])
    ballast = strained.disk / "ballast"
    fill(ballast)
    os.truncate(ballast, ballast.stat().st_size - 262_144)
    arguments = b"\n".join(b"argument-%d" % n for n in range(8000))
    command = [sys.executable, "-m", "htc_queue", "push", "--close"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as producer:
        producer.stdin.write(arguments)
        producer.stdin.close()
        until(lambda: not strained.runs())
        ballast.unlink()
        podman("start", strained.NAME)
        assert producer.wait(timeout=120) == 0, producer.stderr.read()
    standing = queue.standing()
    assert (standing.pushed, standing.closed) == (8001, True)


def test_a_clock_that_jumps_by_five_minutes_loses_nothing_and_counts_nothing_twice(strained, tmp_path):
    queue = Queue(strained.address).open()
    queue.push(b"%d" % n for n in range(80))
    queue.close()
    results = tmp_path / "results"
    workers = [consumer("--output", f"{results}/{{key}}", "--", "sh", "-c", 'sleep 0.1; echo "$1"', "x") for _ in range(2)]
    for threshold, offset in ((10, 300), (30, -300), (50, 0)):
        until(lambda least=threshold: queue.standing().done >= least)
        strained.set_clock(offset)
        until(lambda ahead=offset: abs(queue._redis.time()[0] - time.time() - ahead) < 5)
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    standing = queue.standing()
    assert (standing.pushed, standing.done, standing.dead, standing.finished) == (80, 80, 0, True)
    assert sorted(int(path.read_text()) for path in results.iterdir()) == list(range(80))
