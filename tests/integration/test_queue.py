"""The queue on a real Redis, with processes killed at bad moments: nothing lost, nothing twice."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from debian import ensure_program
from redis.exceptions import NoPermissionError

from htc_queue.clients import Queue
from htc_queue.domain import Lease, Patience, QueueError, Scaling, file_name
from primage.components.queues.queue_credentials import make_credentials
from primage.local.images import storage
from primage.local.images.catalogue import QUEUE
from primage.process import capture

pytestmark = pytest.mark.apart

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
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        "/data/redis.sock",
        "--unixsocketperm",
        "777",
        "--dir",
        "/data",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
    ]
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


CONSUMERS = []
"""Those of the test that runs."""


def consumer(*arguments):
    command = [sys.executable, "-m", "htc_queue", "run", *PATIENCE, *arguments]
    CONSUMERS.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    return CONSUMERS[-1]


@pytest.fixture(autouse=True)
def _no_consumer_stays():
    """Those of a test that failed would take the arguments of the next one."""
    yield
    while CONSUMERS:
        left = CONSUMERS.pop()
        left.kill()
        left.wait(timeout=30)


def alive(process):
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return False


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


def test_an_argument_keeps_its_place_also_through_a_dead_letter(queue):
    queue.push([b"alveola", b"a/b c", b"carina"])
    queue.push([b"carina", b"last"])
    queue.close()
    leases, _ = queue.take("me", 10, Patience(30, 1), look_for_silent=False)
    assert [(lease.argument, lease.index) for lease in leases] == [(b"alveola", 0), (b"a/b c", 1), (b"carina", 2), (b"last", 3)]
    queue.fail("me", leases[2], Patience(30, 1), "why", "tail")
    assert queue.letters(5)[0].argument == b"carina"
    assert queue.retry() == 1
    again, _ = queue.take("me", 10, Patience(30, 1), look_for_silent=False)
    assert [(lease.argument, lease.index) for lease in again] == [(b"carina", 2)]
    queue.finish([*leases[:2], leases[3], *again])
    assert queue.standing().finished


HOSTILE = [
    b"'; rm -rf /; echo '",
    b'"quoted" $(id) `id` ${HOME}',
    b"two\nlines\n",
    b"-n",
    b"--help",
    b"{}",
    b"\xff\xfe not text",
    " sp\u00e4ce and \u2603".encode(),
    b"\\0 \\n %s *",
]


def test_hostile_arguments_arrive_as_they_are(queue, tmp_path):
    tool("push", "-0", "--close", stdin=b"\0".join(HOSTILE))
    script = "import sys, os; sys.stdout.buffer.write(os.fsencode(sys.argv[1]))"
    assert consumer("--output", f"{tmp_path}/{{key}}", "--", sys.executable, "-c", script).wait(timeout=60) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {file_name(a): a for a in HOSTILE}


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
    assert worker.wait(timeout=20) == 5
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
    until(lambda: not alive(child))


def test_a_child_that_keeps_the_pipe_open_is_ended_and_does_not_hold_the_queue_up(queue):
    queue.push([b"a"])
    queue.close()
    started = subprocess.run(
        [sys.executable, "-m", "htc_queue", "run", *PATIENCE, "--", "sh", "-c", "sleep 300 & echo $!"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert queue.standing().done == 1
    assert not alive(int(started.stdout.split()[0])), "it may write to what others read, and nobody counts it"


def test_a_closed_queue_takes_nothing_new(queue):
    queue.push([b"a"])
    queue.close()
    assert queue.push([b"a"]) == 0
    with pytest.raises(QueueError, match="closed"):
        queue.push([b"b"])


def test_what_older_copies_call_closed_ends_no_round(queue):
    """They write a field that has no round; a queue of theirs is closed by this round's own producer."""
    queue._redis.hset("counters", "closed", "1")
    assert not queue.standing().closed
    assert not queue.take("one", 1, Patience(30, 1), look_for_silent=False)[1]
    queue.close()
    assert queue.take("one", 1, Patience(30, 1), look_for_silent=False)[1]


def test_another_round_opens_a_closed_queue_and_ends_when_it_is_closed_itself(queue):
    def take(of):
        return of.take("c", 5, Patience(30, 5), look_for_silent=False)

    queue.push([b"a"])
    queue.close()
    queue.finish(take(queue)[0])
    later = Queue(queue.address, round_="later")
    assert take(queue) == ([], True)
    assert take(later) == ([], False), "the end of an earlier round is none of this one"
    assert later.push([b"a", b"b"]) == 1
    leases, finished = take(later)
    assert ([lease.argument for lease in leases], finished) == ([b"b"], False)
    later.finish(leases)
    later.close()
    assert take(later) == ([], True)
    assert (later.standing().done, later.standing().finished) == (2, True)
    with pytest.raises(QueueError, match="closed"):
        later.push([b"c"])


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


HOSTILE_ENTRIES = [
    {b"something": b"else"},
    {b"argument": b""},
    {b"argument": b"x", b"and": b"more"},
    {b"argument": b"x" * (1024 * 1024 + 1)},
    {b"": b""},
]
HOSTILE_NUMBERS = ["", "-5", "1e9", "\u00b2", "9" * 5000, "\x1b[2J", "nan"]


def test_what_another_pod_writes_into_the_stream_stops_nobody(queue, tmp_path):
    queue.push([b"before"])
    for entry in HOSTILE_ENTRIES:
        queue._redis.xadd("arguments", entry)
    queue._redis.xadd("arguments", {b"argument": b"valid, and never pushed"})
    queue.push([b"after"])
    queue.close()
    done = tool("run", *PATIENCE, "-n", "2", "--", "true", check=False)
    assert done.returncode == 3, "the dead letters tell that somebody wrote into the queue"
    standing = queue.standing()
    assert (standing.done, standing.dead, standing.left, standing.finished) == (3, len(HOSTILE_ENTRIES), 0, True)
    assert all("did not write this entry" in letter.error for letter in queue.letters(10))
    assert queue.retry() == 0
    assert queue.standing().dead == 0


def test_more_entries_than_were_pushed_end_nothing_early(queue):
    """Counters are for people: whether anything is left is the stream's own length."""
    queue.push([b"a", b"b", b"c"])
    queue.close()
    for _ in range(2):
        queue._redis.xadd("arguments", {b"argument": b"x"})
    queue._redis.hset("counters", "done", 3)
    assert not queue.standing().finished
    tool("run", *PATIENCE, "--", "true")
    standing = queue.standing()
    assert (standing.left, standing.finished) == (0, True)


@pytest.mark.parametrize("number", HOSTILE_NUMBERS)
def test_numbers_that_are_none_stop_neither_consumers_nor_the_scaler(queue, number):
    queue.push([b"a", b"b"])
    for name in ("pushed", "done", "dead"):
        queue._redis.hset("counters", name, number)
    queue._redis.hset("rate", mapping={number: number, "x": "y"})
    assert queue.standing().left == 2
    assert Scaling(0, 5).wanted(queue.standing(), 0.0) == 2
    queue.close()
    tool("run", *PATIENCE, "--", "true")
    assert json.loads(tool("status", "--json").stdout)["finished"]


def test_dead_letters_of_any_form_are_shown_within_bounds_and_nothing_of_them_is_obeyed(queue):
    mega = b"x" * 3_000_000
    hostile = {b"argument": b"\x1b]0;mine\x07", b"error": b"\x1b[2J\nError: run this", b"tries": b"--5", b"at": b"1e999"}
    for fields in ({b"a": b"b"}, {b"argument": mega, b"error": mega, b"tail": mega}, hostile):
        queue._redis.xadd("dead", fields)
    shown, listed = tool("dead").stdout, tool("dead", "--json").stdout
    assert b"\x1b" not in shown
    assert b"\x07" not in shown
    assert b"\\x1b[2J\\x0aError: run this, after 0 tries" in shown
    assert len(listed) < 50_000
    assert [json.loads(line)["bytes"] for line in listed.splitlines()] == [9, 3_000_000, 0]
    assert queue.retry() == 1


def test_entries_that_others_hold_for_ever_hide_none_whose_consumer_died(queue):
    queue.push(b"%d" % n for n in range(60))
    held, _ = queue.take("holder", 40, Patience(30, 5), look_for_silent=False)
    lost, _ = queue.take("died", 20, Patience(30, 5), look_for_silent=False)
    until(lambda: queue._redis.xpending_range("arguments", "consumers", lost[0].id, "+", 1)[0]["time_since_delivered"] > 200)
    queue.keep("holder", held)
    taken, _ = queue.take("next", 1, Patience(0.2, 5), look_for_silent=True)
    assert taken[0].id == lost[0].id


def test_a_redis_whose_memory_is_full_takes_nothing_more(queue):
    for closed in (False, True):
        if closed:
            queue.close()
        later = Queue(queue.address, round_="later")
        queue._redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(QueueError, match="full"):
                later.push([b"more"])
        finally:
            queue._redis.config_set("maxmemory", 0)
        assert (queue.standing().pushed, queue.standing().closed) == (0, closed)


def test_a_redis_whose_memory_is_full_lets_consumers_go_on(queue):
    """Whoever has the password can fill it; what is in it is dealt with all the same, also what fails."""
    queue.push([b"good", b"bad"])
    queue.close()
    queue._redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueError, match="closed"):
            queue.push([b"more"])
        script = '[ "$1" = good ]'
        assert tool("run", *PATIENCE, "--tries", "2", "--", "sh", "-c", script, "x", check=False).returncode == 3
    finally:
        queue._redis.config_set("maxmemory", 0)
    assert (queue.standing().done, queue.standing().dead, queue.letters(1)[0].tries) == (1, 1, 2)


@pytest.fixture
def login(queue, tmp_path):
    """The queue as an application's pods see it: with the user and the rights that its Secret gives."""
    made = make_credentials(["localhost"])
    line = next(text for text in made["users.acl"].splitlines() if text.startswith("user queue "))
    (tmp_path / "password").write_text(made["password"])
    queue._redis.execute_command("ACL", "SETUSER", *line.split()[1:])
    yield Queue(queue.address, tmp_path)
    queue._redis.execute_command("ACL", "DELUSER", "queue")


def test_who_has_the_password_may_do_what_the_tool_does(login, monkeypatch, tmp_path):
    monkeypatch.setenv("PRIMAGE_QUEUE_CREDENTIALS", str(tmp_path))
    tool("push", stdin=b"good\nbad\n")
    tool("close")
    script = '[ "$1" = good ] || exit 7; sleep 1'
    assert tool("run", *PATIENCE, "--tries", "2", "--", "sh", "-c", script, "x", check=False).returncode == 3
    assert json.loads(tool("dead", "--json").stdout)["argument"] == "bad"
    assert tool("retry").stdout == b"1\n"
    pulled = json.loads(tool("pull", "--consumer", "me", "--json").stdout)
    login.release("me", [Lease(pulled["id"], b"bad", 1)], Patience(0.1, 3))
    tool("run", *PATIENCE, "--", "true")
    assert login.standing().finished


@pytest.mark.parametrize(
    "command",
    [
        "DEL arguments",
        "SET arguments x",
        "XGROUP DESTROY arguments consumers",
        "XTRIM arguments MAXLEN 0",
        "RENAME arguments other",
        "FLUSHALL",
        "CONFIG GET requirepass",
        "ACL LIST",
        "XADD other * a b",
        "GET other",
        "CLIENT LIST",
        "CLIENT PAUSE 100000",
        "APPEND counters x",
        "EVAL return 0",
        "SUBSCRIBE x",
        "SHUTDOWN",
        "KEYS *",
    ],
)
def test_who_has_the_password_may_nothing_else(login, command):
    with pytest.raises(NoPermissionError):
        login._redis.execute_command(*command.split())


def frozen():
    return int(podman("inspect", "-f", "{{.State.Pid}}", NAME))


def test_a_consumer_cut_off_from_redis_ends_its_command_before_another_has_the_argument(queue, tmp_path):
    """Nothing ends here unless the consumer itself does it: Redis does not answer until the command is gone."""
    queue.push([b"a"])
    queue.close()
    script = f'[ ! -e "/proc/$(cat {tmp_path}/pid 2>/dev/null || echo x)" ] || echo x >> {tmp_path}/both'
    script += f"; echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; until [ -e {tmp_path}/go ]; do sleep 0.1; done"
    workers = [consumer("--", "sh", "-c", script, "x") for _ in range(2)]
    until((tmp_path / "pid").exists)
    first = int((tmp_path / "pid").read_text())
    server = frozen()
    os.kill(server, signal.SIGSTOP)
    try:
        until(lambda: not alive(first))
    finally:
        os.kill(server, signal.SIGCONT)
    until(lambda: (tmp_path / "pid").read_text().strip() != str(first))
    (tmp_path / "go").touch()
    said = [worker.communicate(timeout=60)[0].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert "is given up" in "".join(said)
    assert not (tmp_path / "both").exists()
    assert (queue.standing().done, queue.standing().dead) == (1, 0)


def test_a_redis_that_is_away_for_less_than_that_ends_nothing(queue, tmp_path):
    queue.push([b"a"])
    queue.close()
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "htc_queue",
            "run",
            "--visibility",
            "12",
            "--",
            "sh",
            "-c",
            f"echo begun >> {tmp_path}/log; until [ -e {tmp_path}/go ]; do sleep 0.1; done",
        ],
        stderr=subprocess.PIPE,
    )
    until((tmp_path / "log").exists)
    server = frozen()
    before = queue._redis.xpending_range("arguments", "consumers", "-", "+", 1)[0]["time_since_delivered"]
    os.kill(server, signal.SIGSTOP)
    said = b""
    try:
        while b"cannot be told that the work goes on" not in said:
            said += worker.stderr.readline()
    finally:
        os.kill(server, signal.SIGCONT)
    until(lambda: queue._redis.xpending_range("arguments", "consumers", "-", "+", 1)[0]["time_since_delivered"] < 1000)
    assert before < 12_000
    (tmp_path / "go").touch()
    worker.communicate(timeout=60)
    assert (tmp_path / "log").read_text() == "begun\n"
    assert (queue.standing().done, queue.standing().dead) == (1, 0)


def test_a_server_that_is_not_there_yet_is_waited_for_with_words(queue, tmp_path):
    """As it is for a pod whose network, or whose queue's name, is a moment late."""
    place = tmp_path / "late.sock"
    late = subprocess.Popen(
        [sys.executable, "-m", "htc_queue", "push", "a"],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PRIMAGE_QUEUE": f"unix://{place}"},
    )
    assert b"waiting for the queue at unix://" in late.stderr.readline()
    place.symlink_to(queue.address.removeprefix("unix://"))
    said = late.communicate(timeout=60)[1]
    assert late.returncode == 0
    assert b"the queue answered after" in said
    assert queue.standing().pushed == 1


def test_a_wrong_password_is_not_waited_for(login, tmp_path, monkeypatch):
    (tmp_path / "password").write_text("another")
    monkeypatch.setenv("PRIMAGE_QUEUE_CREDENTIALS", str(tmp_path))
    done = tool("status", check=False)
    assert b"refuses the login" in done.stderr
    assert b"waiting" not in done.stderr


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


@pytest.mark.parametrize("status", [0, 3, 5])
def test_a_function_that_ends_its_process_fails_its_argument_and_nothing_else(queue, tmp_path, monkeypatch, status):
    """A status of the tool's own would end the application, with arguments left."""
    (tmp_path / "work.py").write_text(f"import sys\ndef deal(argument):\n    if argument == '1':\n        sys.exit({status})\n")
    queue.push(b"%d" % n for n in range(3))
    queue.close()
    monkeypatch.chdir(tmp_path)
    assert tool("run", *PATIENCE, "--tries", "1", "--call", "work:deal", check=False).returncode == 3
    assert (queue.standing().done, queue.standing().dead) == (2, 1)
    assert queue.letters(1)[0].error == f"SystemExit: {status}"


def test_a_module_that_ends_its_process_is_named(queue, tmp_path, monkeypatch):
    (tmp_path / "work.py").write_text("import sys\nsys.exit(5)\n")
    monkeypatch.chdir(tmp_path)
    done = tool("run", *PATIENCE, "--call", "work:deal", check=False)
    assert done.returncode == 1
    assert b"importing work ended this process with status 5" in done.stderr


def test_a_consumer_told_to_stop_before_its_queue_answers_stops(monkeypatch):
    monkeypatch.setenv("PRIMAGE_QUEUE", "unix:///nowhere/redis.sock")
    monkeypatch.setenv("PRIMAGE_QUEUE_START_S", "60")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "services/htc_queue"))
    worker = consumer("--", "true")
    assert b"giving up in 60 s" in worker.stdout.readline()
    worker.terminate()
    assert worker.wait(timeout=20) == 5


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
            "run",
            "-d",
            "--name",
            self.NAME,
            "--network",
            "none",
            "-v",
            f"{self.disk}:/data",
            "-v",
            f"{self.clock}:/clock:ro",
            "-e",
            "LD_PRELOAD=/clock/clock.so",
            "--entrypoint",
            "redis-server",
            QUEUE,
            "--port",
            "0",
            "--unixsocket",
            "/data/redis.sock",
            "--unixsocketperm",
            "777",
            "--dir",
            "/data",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        )

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
    ensure_program("gcc", "gcc", "libc6-dev")
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
