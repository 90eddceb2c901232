"""HPC jobs by Slurm's REST daemon, as an account that may do nothing on the login node but SFTP."""

import base64
import json
import re
import subprocess

import pytest
from hpc_machine import OTHER_HOME, OTHER_VO, Jobs, on_hpc, slurm_jobs, until

from primage.clients.cluster import Ref
from primage.kubernetes.waiting import events_of

pytestmark = pytest.mark.usefixtures("slurm")

ACCOUNT = "vo20002"
SECRET = Ref("v1", "Secret", "backend-hpc-rest", OTHER_VO)
LIMIT = "/etc/ssh/sshd_config.d/only-files.conf"
ANEW = f"systemctl reload ssh; pkill -u {ACCOUNT} sshd || true"
HOSTILE = 'it\'s "quoted" $(id) `id`\\ and\nmore'


@pytest.fixture(scope="module")
def _only_files(site):
    on_hpc(f"printf 'Match User {ACCOUNT}\\n  ForceCommand internal-sftp\\n' > {LIMIT}")
    on_hpc(ANEW)
    assert "only" in on_hpc("sshd -T -C user=vo20002 | grep -i forcecommand | sed s/internal-sftp/only/")
    yield
    on_hpc(f"rm {LIMIT}; {ANEW}")


@pytest.fixture
def jobs(_only_files, cluster):
    found = Jobs(cluster)
    yield found
    uids = [found.uid(job) for job in found.made if cluster.get(job)]
    found.clear()
    until("their folders are gone", lambda: not set(uids) & set(on_hpc(f"ls /scratch/{ACCOUNT}/primage").split()))


@pytest.fixture
def folder():
    """A folder in the VO's HOME with an input of 3 MiB and one whose name has everything in it."""
    made = OTHER_HOME / "rest"
    made.mkdir()
    (made / "data").write_bytes(b"tissue" * (1 << 19))
    (made / "a \\ b\nc'd").write_text("odd")
    yield made
    subprocess.run(["rm", "-rf", str(made), str(OTHER_HOME / "made")], check=True, timeout=60)


def output(jobs, job, attempt=1):
    return (OTHER_HOME / "jobs" / job.name / jobs.uid(job)[:8] / f"{attempt}.log").read_text()


def test_files_arguments_and_output_arrive_unchanged(jobs, folder):
    script = """#!/usr/bin/env python3
import hashlib, json, os, pathlib
os.makedirs("made/deep")
for path in sorted(pathlib.Path("rest").iterdir()):
    pathlib.Path("made/deep", path.name).write_text(hashlib.sha256(path.read_bytes()).hexdigest())
print(json.dumps([os.environ["GREETING"], os.listdir(os.environ["MOUNT_POINT"])]))
"""
    env = [{"name": "GREETING", "value": HOSTILE}]
    job = jobs.start("rest", script, host="hpc-rest", env=env, inputs=["rest"], outputs=["made"])
    jobs.wait(job)
    greeting, mounted = json.loads(output(jobs, job))
    assert (greeting, sorted(mounted)) == (HOSTILE, ["DATALAKE", "HOME"])
    made = {path.name: path.read_text() for path in (OTHER_HOME / "made" / "deep").iterdir()}
    sums = subprocess.run(["sha256sum", "-z", *folder.iterdir()], capture_output=True, check=True, timeout=60).stdout.decode()
    assert set(made) == {"data", "a \\ b\nc'd"}
    assert set(made.values()) == {line[:64] for line in sums.split("\0") if line}


@pytest.mark.parametrize(
    ("script", "more", "words"),
    [
        ("true", {"partition": "none"}, "nvalid partition"),
        ("true", {"requests": {"cpu": "5000"}}, "configuration is not available|More processors"),
        ("true", {"outputs": ["no-such-result"]}, "did not make no-such-result"),
        ("echo reading slice 17; exit 3", {"backoffLimit": 0}, "ended with status 3; its last lines:\n  reading slice 17"),
    ],
)
def test_why_a_job_fails_is_said(jobs, script, more, words):
    job = jobs.start("rest", script, host="hpc-rest", **more)
    jobs.wait(job, "Failed")
    (said,) = [c["message"] for c in jobs.live(job)["status"]["conditions"] if c["type"] == "Failed"]
    assert re.search(words, said)


def test_deleted_while_it_runs_it_is_cancelled(jobs):
    job = jobs.start("rest", "sleep 600", host="hpc-rest")
    until("it runs", lambda: [state for _, state in slurm_jobs(jobs.uid(job))] == ["RUNNING"])
    uid = jobs.uid(job)
    jobs.clear()
    assert [state for _, state in slurm_jobs(uid)] == ["CANCELLED"]


def test_an_input_that_was_damaged_is_sent_again(jobs, folder):
    on_hpc("scontrol update nodename=hpc state=drain reason=test")
    try:
        job = jobs.start("rest", "cat rest/data | wc -c", host="hpc-rest", inputs=["rest"])
        until("it waits in Slurm", lambda: slurm_jobs(jobs.uid(job)))
        there = f"/scratch/{ACCOUNT}/primage/{jobs.uid(job)}/mount/HOME/private/rest/data"
        on_hpc(f"printf T | dd of={there} conv=notrunc status=none")
    finally:
        on_hpc("scontrol update nodename=hpc state=resume")
    jobs.wait(job)
    assert len(slurm_jobs(jobs.uid(job))) == 2
    assert "rest/data" in output(jobs, job, 1)
    assert output(jobs, job, 2).strip() == str(6 << 19)


def test_a_token_that_is_refused_is_said_and_renewed_without_a_restart(jobs, cluster):
    job = jobs.start("rest", "until [ -e go ]; do sleep 0.2; done", host="hpc-rest")
    until("it runs", lambda: [state for _, state in slurm_jobs(jobs.uid(job))] == ["RUNNING"])
    good = cluster.get(SECRET)["data"]["slurm-token"]
    bad = base64.b64encode(b"eyJhbGciOiJIUzI1NiJ9.eyJzdW4iOiJ4In0.AAAA").decode()
    cluster.patch(SECRET, {"data": {"slurm-token": bad}}, manager="test")
    try:
        until("people are told", lambda: {"LoginRefused", "HpcUnavailable"} & jobs.reasons(job))
        said = " ".join(str(event.get("message")) for event in events_of(cluster, job))
        assert base64.b64decode(good).decode() not in said
    finally:
        cluster.patch(SECRET, {"data": {"slurm-token": good}}, manager="test")
    on_hpc(f"touch /scratch/{ACCOUNT}/primage/{jobs.uid(job)}/mount/HOME/private/go")
    jobs.wait(job)
    assert len(slurm_jobs(jobs.uid(job))) == 1


def test_slurmrestd_away_while_a_job_ends(jobs):
    job = jobs.start("rest", "until [ -e go ]; do sleep 0.2; done", host="hpc-rest")
    until("it runs", lambda: [state for _, state in slurm_jobs(jobs.uid(job))] == ["RUNNING"])
    on_hpc("systemctl stop slurmrestd")
    try:
        until("people are told", lambda: {"Unreachable", "HpcUnavailable"} & jobs.reasons(job))
        on_hpc(f"touch /scratch/{ACCOUNT}/primage/{jobs.uid(job)}/mount/HOME/private/go")
        until("it has ended", lambda: [state for _, state in slurm_jobs(jobs.uid(job))] == ["COMPLETED"])
    finally:
        on_hpc("systemctl start slurmrestd")
    jobs.wait(job)
    assert len(slurm_jobs(jobs.uid(job))) == 1
