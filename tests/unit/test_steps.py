import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from primage.errors import PrimageError
from primage.local.steps import Step, run_steps
from primage.process import capture, run_logged


def test_each_step_comes_after_what_it_needs(tmp_path):
    order = []
    steps = [
        Step("c", "C", lambda log, report: order.append("c"), ["a", "b"]),
        Step("a", "A", lambda log, report: order.append("a")),
        Step("b", "B", lambda log, report: order.append("b"), ["a"]),
    ]
    run_steps(steps, tmp_path)
    assert order == ["a", "b", "c"]


def test_a_failing_step_names_its_log_and_stops_what_needs_it(tmp_path):
    order = []
    steps = [
        Step(
            "bad", "Bad", lambda log, report: run_logged(["sh", "-c", "echo first; echo it broke; exit 3"], log=log, timeout_s=10)
        ),
        Step("after", "After", lambda log, report: order.append("after"), ["bad"]),
    ]
    with pytest.raises(PrimageError, match="it broke") as caught:
        run_steps(steps, tmp_path)
    assert caught.value.where == str(tmp_path / "bad.log")
    assert "first\nit broke\n" in (tmp_path / "bad.log").read_text()
    assert order == []


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path):
    with pytest.raises(PrimageError, match="did not finish within"):
        run_logged(["sh", "-c", "sleep 600 & sleep 600"], log=tmp_path / "l", timeout_s=0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_command_that_is_to_end_with_who_started_it_does_when_that_is_killed(tmp_path):
    script = f"""
import pathlib
from primage.process import run_logged
def say(line):
    print(line, flush=True)
command, log = ["sh", "-c", "echo $$; exec sleep 600"], pathlib.Path({str(tmp_path / "log")!r})
run_logged(command, log=log, timeout_s=600, on_line=say, ends_with_us=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        child = Path("/proc") / parent.stdout.readline().strip() / "cmdline"
        parent.kill()
    end = time.monotonic() + 30
    while said := command_of(child):
        assert time.monotonic() < end, f"it goes on: {said}"
        time.sleep(0.01)


def command_of(cmdline):
    """A process's command; nothing of one that has ended, whether somebody has taken note of that or not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return cmdline.read_bytes()
    return b""


def test_what_is_written_to_standard_input_is_in_no_log(tmp_path):
    run_logged(["sh", "-c", "wc -c"], log=tmp_path / "l", timeout_s=10, stdin=b"hunter2")
    assert "hunter2" not in (tmp_path / "l").read_text()


def test_a_program_that_is_not_installed():
    with pytest.raises(PrimageError, match="is not installed"):
        capture(["no-such-program-anywhere"])
