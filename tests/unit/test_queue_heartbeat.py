"""The lease of what a consumer has in hand: kept over passing errors, and never outlived by the work."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from htc_queue.domain import Lease
from htc_queue.heartbeat import Heartbeat

ROOT = Path(__file__).resolve().parents[2]
LEASE = Lease("1-0", b"argument", 1)
VISIBILITY_S = 1.5


class Queue:
    """Answers as it is told, the last answer for ever after."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.good = 0
        self.changed = threading.Condition()

    def keep(self, leases):
        assert leases == [LEASE]
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = answer()
        with self.changed:
            self.good += 1
            self.changed.notify_all()
        return answer


def hold(queue, until):
    """Have an argument in hand until something is the case; returns when it was given up, if ever, and the hold."""
    given_up = []
    heart = Heartbeat(queue.keep, VISIBILITY_S, lambda: given_up.append(time.monotonic()))
    since = time.monotonic()
    with heart.beating(), heart.holding([LEASE], since) as held:
        until(given_up)
    return given_up, held, since


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("error", [RedisConnectionError("away"), ResponseError("BUSY a script runs"), OSError("no network")])
def test_an_error_that_passes_is_survived(error):
    queue = Queue(error, error, [])
    given_up, held, since = hold(queue, lambda _: wait_until(lambda: queue.good >= 3))
    assert (given_up, held.lost) == ([], "")
    assert held.until > since + VISIBILITY_S


@pytest.mark.parametrize("answer", [RedisConnectionError("away"), lambda: time.sleep(60)], ids=["errors", "no answer at all"])
def test_work_whose_lease_cannot_be_kept_is_ended_before_another_may_have_it(answer):
    given_up, held, since = hold(Queue(answer), lambda given_up: wait_until(lambda: given_up))
    assert given_up[0] < since + VISIBILITY_S
    assert "could not be told" in held.lost


def test_work_that_another_consumer_has_by_now_is_ended():
    given_up, held, _ = hold(Queue([], ["1-0"]), lambda given_up: wait_until(lambda: given_up))
    assert given_up
    assert "another consumer" in held.lost


def test_what_is_ended_is_ended_again_until_it_is_let_go():
    """The command may be just about to start when its lease is lost."""
    given_up, _, _ = hold(Queue(["1-0"]), lambda given_up: wait_until(lambda: len(given_up) >= 3))
    assert len(given_up) >= 3


def test_an_answer_that_comes_when_the_work_is_done_ends_nothing():
    asked, answer = threading.Event(), threading.Event()

    def late():
        asked.set()
        answer.wait(30)
        return ["1-0"]

    given_up = []
    heart = Heartbeat(Queue(late).keep, VISIBILITY_S, lambda: given_up.append(1))
    with heart.beating():
        with heart.holding([LEASE], time.monotonic()):
            assert asked.wait(30)
        other = Lease("2-0", b"other", 1)
        with heart.holding([other], time.monotonic()) as held:
            answer.set()
            heart._over.set()
    assert (given_up, held.lost) == ([], "")


IN_A_PROCESS = """
import ctypes, time
from htc_queue.domain import Lease
from htc_queue.heartbeat import Heartbeat
from redis.exceptions import ConnectionError
def keep(leases):
    {keep}
heart = Heartbeat(keep, 1.0, None)
with heart.beating(), heart.holding([Lease("1-0", b"x", 1)], time.monotonic()):
    {work}
print("it went on")
"""


def in_a_process(keep, work):
    return subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS.format(keep=keep, work=work)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "services/htc_queue")},
    )


def test_a_function_whose_lease_cannot_be_kept_ends_with_its_process():
    done = in_a_process("raise ConnectionError('away')", "time.sleep(30)")
    assert done.returncode == 4
    assert "is given up" in done.stderr


def test_a_function_that_lets_no_thread_run_ends_with_its_process():
    """As a library in C does that keeps Python's lock: no loop of this process could notice."""
    done = in_a_process("return []", "ctypes.PyDLL(None).sleep(30)")
    assert done.returncode == 1
    assert "Timeout" in done.stderr


def test_a_loop_that_dies_ends_its_process():
    done = in_a_process("raise KeyError('a defect')", "time.sleep(30)")
    assert done.returncode == 1
    assert "a defect" in done.stderr
    assert "it went on" not in done.stdout
