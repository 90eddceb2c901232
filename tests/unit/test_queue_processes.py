"""A consumer's command held to its time, whatever it prints, ignores, forks or closes. No Redis is needed for that."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from htc_queue.processes import TAIL, Runner

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import json, sys
from pathlib import Path
from htc_queue import processes
processes.GRACE_S = 0.3
runner = processes.Runner()
outcome = runner.run([part.encode() for part in sys.argv[2:]], None, None, float(sys.argv[1]))
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
left = sorted(processes._children())
print(json.dumps({"error": outcome.error, "tail": outcome.tail, "peak_kb": peak, "left": left}), file=sys.stderr)
"""
IN_A_SESSION_OF_ITS_OWN = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        while True:
            os.write(1, b"still here\\n" * 100)
    os._exit(0)
time.sleep(300)
"""
IN_ITS_PARENT_S_GROUP = "import os, sys, time; os.setpgid(0, os.getpgid(os.getppid())); time.sleep(300)"


def run(seconds, *command, stdout=subprocess.DEVNULL):
    """In a process of its own, as a consumer does it: what became of the command, and of this process' memory."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(seconds), *command],
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "services/htc_queue")},
    )
    return json.loads(done.stderr)


@pytest.mark.parametrize(
    "command",
    [
        ("yes",),
        ("sh", "-c", "trap '' TERM; while :; do echo still here; done"),
        ("sh", "-c", "exec >&- 2>&-; sleep 300"),
        ("sh", "-c", "yes & yes & yes & wait"),
        (sys.executable, "-c", IN_ITS_PARENT_S_GROUP),
        ("cat", "/dev/zero"),
    ],
    ids=["prints", "ignores the signal", "closes its output", "prints from children", "leaves its group", "prints no lines"],
)
def test_a_command_whose_time_is_over_is_ended_whatever_it_does(command):
    done = run(0.4, *command)
    assert done["error"] == "it ran longer than 0.4 s"
    assert done["left"] == []
    assert len(done["tail"].encode()) <= TAIL
    assert done["peak_kb"] < 60_000, "memory grows with what is printed"


def test_what_left_its_session_and_holds_the_pipe_is_ended_too(tmp_path):
    done = run(1.0, sys.executable, "-c", IN_A_SESSION_OF_ITS_OWN, str(tmp_path / "pid"))
    assert (done["error"], done["left"]) == ("it ran longer than 1 s", [])
    assert not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists()


def test_time_is_kept_when_nobody_reads_the_output():
    reader, writer = os.pipe()
    try:
        assert run(0.4, "yes", stdout=writer)["error"] == "it ran longer than 0.4 s"
    finally:
        os.close(reader)
        os.close(writer)


def test_what_a_command_leaves_behind_may_end_by_itself_and_is_ended_if_it_does_not(tmp_path):
    done = run(30, "bash", "-c", f"exec > >(sleep 0.1; tee {tmp_path}/log); echo said; sleep 300 & echo $! > {tmp_path}/pid")
    assert (done["error"], done["left"]) == ("", [])
    assert (tmp_path / "log").read_text() == "said\n"
    assert not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists()


def test_all_of_a_long_output_arrives_in_order(tmp_path):
    with (tmp_path / "out").open("wb") as out:
        done = run(30, "seq", "300000", stdout=out)
    assert done["error"] == ""
    assert (tmp_path / "out").read_text() == "".join(f"{n}\n" for n in range(1, 300_001))
    assert done["tail"].endswith("299999\n300000\n")


def test_a_reader_that_goes_does_not_fail_the_argument():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run(30, "seq", "100000", stdout=writer)["error"] == ""
    finally:
        os.close(writer)


def test_an_end_by_a_signal_without_a_name_is_an_end():
    number = signal.SIGRTMIN + 1
    assert run(30, "sh", "-c", f"kill -{number} $$")["error"] == f"its command was ended by signal {number}"


def test_a_place_for_the_output_that_cannot_be_made_fails_the_argument_alone(tmp_path):
    (tmp_path / "file").touch()
    outcome = Runner().run([b"true"], None, tmp_path / "file" / "x", None)
    assert outcome.error.startswith("its command cannot be run")


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_command_is_ended_from_another_thread(ending, tmp_path, monkeypatch):
    monkeypatch.setattr("htc_queue.processes.STOP_GRACE_S", 0.2)
    runner, outcomes = Runner(), []
    script = f"trap '' TERM; echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; while :; do sleep 0.05; done"
    thread = threading.Thread(target=lambda: outcomes.append(runner.run([b"sh", b"-c", script.encode()], None, None, None)))
    thread.start()
    end = time.monotonic() + 30
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    getattr(runner, ending)()
    thread.join(timeout=30)
    assert outcomes[0].error == "its command was ended by SIGKILL (out of memory?)"
