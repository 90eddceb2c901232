"""The connector between a small Kubernetes and a small HPC centre of this machine, with jobs and members that mean harm."""

import json
import os
import socket
from pathlib import Path

import pytest
from hpc_local import ROOT, Local
from waiting import until

BROKEN = str(ROOT / "tests/helpers/hpc_connector_that_dies.py")
ATTEMPT, FAILED, SLURM = (f"hpc.primage.eu/{name}" for name in ("attempt", "failed", "slurm-job"))
BACKEND = "hpc.primage.eu/backend"
CONNECTOR_MIB = 150
"""What the connector's container may use."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One connector for many jobs: what one of them does must not be seen by another."""
    found = Local(tmp_path_factory.mktemp("hpc"))
    found.start()
    yield found
    assert found.runs(), found.log.read_text()
    found.stop()


@pytest.fixture
def local(tmp_path):
    found = Local(tmp_path)
    yield found
    found.stop()


@pytest.fixture
def two(tmp_path):
    """A namespace with two centres."""
    found = Local(tmp_path, "first", "second")
    yield found
    found.stop()


def started(local, name, uid):
    """Wait until a job runs at its centre."""
    until(
        f"{name} runs",
        lambda: local.api.live(name)["metadata"]["annotations"].get(SLURM) and local.centre.states(uid) == ["RUNNING"],
    )


# -- outputs -------------------------------------------------------------------------------------------------------------


def test_links_inside_the_jobs_home_are_followed_and_what_they_lead_to_comes_back(shared):
    script = """mkdir -p made/run-7; echo best > made/run-7/model; ln -s run-7 made/latest; ln -s made/run-7/model model
echo x > 'odd | \\ name'"""
    uid = shared.api.job("links", script, outputs=["made", "./model", "odd | \\ name"])
    shared.ends("links")
    assert {
        path: (shared.home / path).read_text() for path in ("made/run-7/model", "made/latest/model", "model", "odd | \\ name")
    } == {
        "made/run-7/model": "best\n",
        "made/latest/model": "best\n",
        "model": "best\n",
        "odd | \\ name": "x\n",
    }
    assert not (shared.home / "model").is_symlink()
    until("its folder is gone", lambda: not shared.centre.work(uid).exists())


UNFIT_OUTPUTS = {
    "missing": ("true", "did not make made"),
    "empty": ("mkdir made", "made no file in made"),
    "link-out": ("ln -s /etc/hostname made", "made made a link that leads out of its HOME"),
    "folder-link-out": ("mkdir made; ln -s /etc made/etc", "a link that leads out of its HOME"),
    "dangling": ("ln -s nothing made", "made made, which is a link to nothing, a pipe or a device"),
    "pipe": ("mkdir made; mkfifo made/pipe", "made made/pipe, which is a link to nothing, a pipe or a device"),
    "loop": ("mkdir made; echo x > made/x; ln -s . made/loop", "loop"),
}


def test_an_output_that_is_not_what_was_named_fails_the_job_and_the_rest_is_home(shared):
    uids = {}
    for name, (script, _) in UNFIT_OUTPUTS.items():
        uids[name] = shared.api.job(name, f"{script}\nmkdir -p kept; echo kept > kept/{name}", outputs=["made", "kept"])
    for name, (_, words) in UNFIT_OUTPUTS.items():
        reason, message = shared.ends(name, "Failed")
        assert reason == "OutputMissing", name
        assert words in message, name
        assert (shared.home / "kept" / name).read_text() == "kept\n"
    assert not (shared.home / "made/etc").exists()
    until("their folders are gone", lambda: not any(shared.centre.work(uid).exists() for uid in uids.values()))


def test_jobs_that_bring_files_of_the_same_content_into_one_folder_do_not_disturb_each_other(shared):
    names = [f"same-{number}" for number in range(12)]
    for name in names:
        shared.api.job(name, f"mkdir same; head -c 3000000 /dev/zero | tee same/{name}-a > same/{name}-b", outputs=["same"])
    for name in names:
        shared.ends(name)
    assert {path.name: path.stat().st_size for path in (shared.home / "same").iterdir()} == {
        f"{name}-{half}": 3000000 for name in names for half in "ab"
    }


def test_an_output_with_bytes_that_are_no_text_comes_back(shared):
    shared.api.job("latin", "mkdir latin; echo x > latin/$'caf\\xe9'", outputs=["latin"])
    shared.ends("latin")
    assert [os.fsencode(path.name) for path in (shared.home / "latin").iterdir()] == [b"caf\xe9"]


# -- one poisoned job costs nobody else anything -----------------------------------------------------------------------------


POISON = {
    "minus": "printf -- --5 > $A/result",
    "power": "printf ² > $A/result",
    "long": "head -c 5000 /dev/zero | tr '\\0' 9 > $A/result",
    "big": "echo 256 > $A/result",
    "bytes": "head -c 100000 /dev/urandom > $A/result",
    "pipe": "mkfifo $A/result",
    "folder": "mkdir $A/result",
    "link": "ln -s /dev/zero $A/result",
}


def test_a_result_file_that_is_none_ends_its_job_and_no_other(shared):
    for name, script in POISON.items():
        # It holds the place of the result for as long as it is looked at; run.sh cannot put its own there.
        keep = "A=../../../1; until [ -e ../../../stop ] || [ ! -e ../../../1 ]; do sleep 0.1; done"
        shared.api.job(f"poison-{name}", f"A=$PWD/../../../1; {script}\nkill -9 $PPID\n{keep}")
    uid = shared.api.job("healthy", "echo fine")
    shared.ends("healthy")
    assert shared.output("healthy", uid) == "fine\n"
    for name in POISON:
        assert shared.ends(f"poison-{name}", "Failed")[0] in {"ResultUnfit"}, name


def test_an_output_that_is_a_pipe_keeps_nobody_waiting(shared):
    script = "rm ../../../1/output; mkfifo ../../../1/output"
    for number in range(3):
        shared.api.job(f"fifo-{number}", script)
    uid = shared.api.job("after-fifo", "echo fine")
    shared.ends("after-fifo")
    assert shared.output("after-fifo", uid) == "fine\n"
    for number in range(3):
        shared.ends(f"fifo-{number}")


def test_pipes_in_place_of_logs_keep_only_their_own_jobs(shared):
    """Many more than are read or written at a time: none of them waits for somebody who reads."""
    for number in range(20):
        name = f"log-{number}"
        uid = shared.api.job(name, "echo said", suspend=True)
        folder = shared.home / "jobs" / name / uid[:8]
        folder.mkdir(parents=True)
        os.mkfifo(folder / "1.log")
        shared.give(folder / "1.log")
        shared.api.edit(name, {"spec": {"suspend": False}})
    uid = shared.api.job("after-logs", "echo fine")
    shared.ends("after-logs")
    assert shared.output("after-logs", uid) == "fine\n"
    until("people are told", lambda: any("not a regular file" in event["message"] for event in shared.api.events))
    pipe = next((shared.home / "jobs/log-0").glob("*/1.log"))
    pipe.unlink()
    shared.ends("log-0")
    assert pipe.read_text() == "said\n"
    for number in range(1, 20):
        shared.api.delete(f"log-{number}")


def test_a_number_or_a_lock_that_is_a_pipe_ends_its_job_alone(shared):
    script = "cd ../../..; rm -f lock; mkfifo lock; exit 1"
    for number in range(8):
        shared.api.job(f"lock-{number}", script, backoffLimit=1)
    shared.api.job("after-locks", "true")
    shared.ends("after-locks")
    for number in range(8):
        reason, message = shared.ends(f"lock-{number}", "Failed")
        assert "is not a file any more" in message, reason


def test_annotations_that_are_none_are_as_good_as_missing(shared):
    jobs = {}
    for note in (ATTEMPT, FAILED, SLURM):
        for value in ("x", "-1", "9" * 400, "²", "0", ""):
            name = f"note-{len(jobs)}"
            jobs[name] = (note, value)
            shared.api.job(name, "true", annotations={note: value}, backoffLimit=1)
    for name, what in jobs.items():
        assert shared.ends(name), what


def test_a_config_map_that_is_none_fails_its_job(shared):
    unfit = ["[" * 100_000, '{"host": "hpc", "script": "\\ud800"}', '{"host": "hpc", "script": 5}', "", '{"host": "hpc"}']
    for number, data in enumerate(unfit):
        shared.api.job(f"map-{number}", "true", suspend=True)
        shared.api.config_map(f"map-{number}", {"job": data})
        shared.api.edit(f"map-{number}", {"spec": {"suspend": False}})
    for number in range(len(unfit)):
        assert shared.ends(f"map-{number}", "Failed")[0] == "Unfit"


def test_a_job_or_a_script_without_measure_is_refused_and_not_kept(shared):
    shared.api.job("long-script", "x" * 200_000)
    shared.api.job("long-job", "true", env=[{"name": "A", "value": "x" * 1_000_000}])
    for name in ("long-script", "long-job"):
        reason, message = shared.ends(name, "Failed")
        assert "longer than 128 KiB" in message, reason


def test_what_is_more_than_a_namespaces_part_of_memory_waits_until_there_is_room(local):
    """Twenty jobs of 200 kB, of which there is room for a few: the others wait, and go on when these are over."""
    for number in range(20):
        local.api.job(f"large-{number}", "true", env=[{"name": "A", "value": "x" * 100_000}], suspend=True)
        local.api.config_map(f"large-{number}", {"job": json.dumps({"host": "hpc", "script": f"true\n#{'x' * 110_000}"})})
    local.start((BROKEN, "little-memory"), PRIMAGE_WATCH_S="1")
    for number in range(20):
        local.api.edit(f"large-{number}", {"spec": {"suspend": False}})
    until("some wait", lambda: any(event["reason"] == "TooMuch" for event in local.api.events))
    for number in range(20):
        local.ends(f"large-{number}")


def test_no_name_of_a_variable_means_anything_to_what_runs_the_job(shared):
    names = ("attempt", "mount", "home", "child", "code", "variables", "PATH", "BASH_ENV", "LD_PRELOAD", "UID", "SHELLOPTS", "IFS")
    env = [{"name": name, "value": f"/none {name}"} for name in names]
    script = f"#!{Path('/usr/bin/python3')}\nimport os\nprint([os.environ.get(n) for n in {names!r}])"
    uid = shared.api.job("names", script, env=env)
    shared.ends("names")
    said = shared.output("names", uid).splitlines()[-1]
    for name in ("attempt", "mount", "home", "child", "code", "variables", "BASH_ENV", "LD_PRELOAD"):
        assert f"'/none {name}'" in said, said


# -- memory --------------------------------------------------------------------------------------------------------------


def test_a_job_that_prints_without_measure_costs_neither_memory_nor_home(shared):
    script = "echo first; head -c 200000000 /dev/zero | tr '\\0' x; echo; echo no more patience; exit 3"
    uid = shared.api.job("loud", script)
    reason, message = shared.ends("loud", "Failed")
    assert message.endswith("no more patience"), reason
    log = shared.home / "jobs/loud" / uid[:8] / "1.log"
    assert log.stat().st_size < (65 << 20)
    with log.open("rb") as stream:
        assert stream.read(6) == b"first\n"
        stream.seek(-70_000, os.SEEK_END)
        end = stream.read()
    assert b"what was between is left out" in end
    assert end.endswith(b"no more patience\n")
    assert shared.memory_mib() < CONNECTOR_MIB


def test_a_command_that_prints_without_end_is_cut_off(local):
    squeue = local.folder / "hpc/bin/squeue"
    squeue.rename(squeue.with_name("kept"))
    line = f"Q|1|RUNNING|None|primage:{local.api.owner}:00000000-0000-0000-0000-000000000000:1"
    squeue.write_text(f'#!/bin/bash\nyes "{line}"')
    squeue.chmod(0o755)
    local.start()
    until("it is noticed", lambda: "printed more than" in local.log.read_text())
    assert local.memory_mib() < CONNECTOR_MIB
    squeue.with_name("kept").rename(squeue)
    local.api.job("job", "true")
    local.ends("job")


# -- where a job is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("note", [None, "first", "x" * 1000], ids=["removed", "wrong", "unknown"])
def test_a_deleted_job_is_let_go_only_when_it_is_cancelled_where_it_is(two, note):
    """Connector, Job and config map are gone together, and what the Job says of its place is not true."""
    two.start()
    uid = two.api.job("job", "sleep 600", host="second")
    until("it runs", lambda: two.centres["second"].states(uid) == ["RUNNING"])
    until("that is known", lambda: SLURM in two.api.live("job")["metadata"]["annotations"])
    two.stop_connector()
    two.api.edit("job", {"metadata": {"annotations": {BACKEND: note}}})
    two.api.delete("job")
    two.api.delete("job", "configmaps")
    assert two.api.live("job"), "it is held"
    two.start(PRIMAGE_IDLE_S="600")
    until("it is let go", lambda: not two.api.live("job"))
    assert two.centres["second"].states(uid) == ["CANCELLED"]
    assert not two.centres["second"].work(uid).exists()


def test_nothing_is_let_go_as_long_as_a_centre_cannot_be_asked(two):
    two.start()
    uid = two.api.job("job", "sleep 600", host="second")
    until("it runs", lambda: two.centres["second"].states(uid) == ["RUNNING"])
    until("that is known", lambda: SLURM in two.api.live("job")["metadata"]["annotations"])
    two.stop_connector()
    two.centres["second"].away()
    two.api.edit("job", {"metadata": {"annotations": {BACKEND: "first"}}})
    two.api.delete("job")
    two.start()
    until("people are told", lambda: any(event["reason"] == "Unreachable" for event in two.api.events))
    assert two.api.live("job")
    two.centres["second"].back()
    until("it is let go", lambda: not two.api.live("job"))
    assert two.centres["second"].states(uid) == ["CANCELLED"]


def test_a_job_whose_own_centre_was_asked_waits_for_no_other(two):
    two.start()
    uid = two.api.job("job", "sleep 600", host="second")
    until("it runs", lambda: two.centres["second"].states(uid) == ["RUNNING"])
    until("that is known", lambda: SLURM in two.api.live("job")["metadata"]["annotations"])
    two.stop_connector()
    two.centres["first"].away()
    two.api.delete("job")
    two.start()
    until("it is let go", lambda: not two.api.live("job"))
    assert two.centres["second"].states(uid) == ["CANCELLED"]


def test_what_runs_for_a_job_that_was_forced_away_is_ended_though_no_other_job_comes(two):
    two.start()
    uid = two.api.job("job", "sleep 600", host="second")
    until("it runs", lambda: two.centres["second"].states(uid) == ["RUNNING"])
    two.stop_connector()
    two.api.edit("job", {"metadata": {"finalizers": None}})
    two.api.delete("job")
    two.start()
    until("it is cancelled", lambda: two.centres["second"].states(uid) == ["CANCELLED"])


def test_what_a_config_map_says_of_a_backend_is_believed_by_nobody(two):
    """A member points `backend-first` at a machine of their own: the credentials do not go there."""
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        theirs.settimeout(0)
        two.api.config_map("backend-first", {"ENDPOINT": f"127.0.0.1:{theirs.getsockname()[1]}", "scratch": "$(touch /tmp/x)"})
        two.start()
        two.api.job("job", "true", host="first")
        two.ends("job")
        with pytest.raises(BlockingIOError):
            theirs.accept()


def test_another_script_in_the_same_config_map_changes_no_later_attempt(local):
    local.start()
    script = "echo one; until [ -e ../../../go ]; do sleep 0.05; done; [ -e ../../../2/started ]"
    uid = local.api.job("job", script, backoffLimit=2)
    started(local, "job", uid)
    local.api.config_map("job", {"job": '{"host": "hpc", "script": "echo two"}'})
    (local.centre.work(uid) / "go").touch()
    local.ends("job")
    assert local.output("job", uid, 2) == "one\n"


def test_another_script_in_the_same_config_map_ends_the_job_after_a_restart(local):
    local.start()
    uid = local.api.job("job", "sleep 600", backoffLimit=2)
    started(local, "job", uid)
    local.stop_connector()
    local.api.config_map("job", {"job": '{"host": "elsewhere", "script": "echo two"}'})
    local.start()
    assert local.ends("job", "Failed")[0] == "ScriptChanged"
    assert local.centre.states(uid) == ["CANCELLED"]


def test_a_config_map_other_than_the_pod_templates_digest_says_is_refused(local):
    local.start()
    uid = local.api.job("job", "true", template={"hpc.primage.eu/job-digest": "0" * 64})
    assert local.ends("job", "Failed")[0] == "ScriptChanged"
    assert local.centre.states(uid) == []


def test_a_job_that_ended_in_time_is_not_failed_for_a_connector_that_was_away(local):
    local.start()
    uid = local.api.job(
        "job", "echo made > made; until [ -e ../../../go ]; do sleep 0.05; done", outputs=["made"], activeDeadlineSeconds=600
    )
    started(local, "job", uid)
    local.stop_connector()
    (local.centre.work(uid) / "go").touch()
    until("it has ended", lambda: local.centre.states(uid) == ["COMPLETED"])
    local.api.edit("job", {"status": {"startTime": "2026-01-01T00:00:00Z"}})
    local.start()
    local.ends("job")
    assert (local.home / "made").read_text() == "made\n"


# -- alive ---------------------------------------------------------------------------------------------------------------


def beats(local):
    """Wait for another touch of the file."""
    before = local.alive.stat().st_mtime_ns
    until("it is touched again", lambda: local.alive.stat().st_mtime_ns > before, 10)


def test_a_connector_without_jobs_is_alive_for_an_hour(local):
    """An hour is a dozen watches that end without an event; here each is half a second long."""
    local.start(PRIMAGE_WATCH_S="0.5", PRIMAGE_GRACE_S="2")
    until("it is alive", local.alive.exists)
    for turn in range(2, 14):
        until(f"watch {turn}", lambda turn=turn: local.api.lists >= turn, 20)
        beats(local)
    assert local.runs()


def test_a_connector_whose_api_server_is_away_is_alive(local):
    local.start(PRIMAGE_WATCH_S="0.5", PRIMAGE_GRACE_S="2")
    until("it is alive", local.alive.exists)
    local.api.down = True
    until("it has noticed", lambda: "cannot follow the jobs" in local.log.read_text())
    beats(local)
    local.api.down = False
    lists = local.api.lists
    until("it goes on", lambda: local.api.lists > lists)


def test_a_loop_that_hangs_is_no_life(local):
    local.start((BROKEN, "look-hangs"), PRIMAGE_GRACE_S="0.5")
    until("it is missed, and missed again", lambda: local.log.read_text().count("no longer turning: looks at hpc") > 1)
    beats(local)


def test_a_loop_that_ends_by_an_error_is_begun_again(local):
    local.start((BROKEN, "look-fails"))
    until("it has ended twice", lambda: local.log.read_text().count("a mistake nobody thought of") > 1)
    beats(local)


def test_a_list_of_backends_that_is_none_is_said_and_nothing_begun(local):
    local.start(PRIMAGE_BACKENDS='[{"name": "hpc", "endpoint": "host", "slurmrestd": "http://host"}]')
    assert local.process.wait(30) == 2
    assert "$[0].slurmrestd" in local.log.read_text()
