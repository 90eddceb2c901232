"""The connector killed, cut off, and let down by everything it relies on: nothing is lost, nothing is done twice."""

import base64
import hashlib
import signal
import subprocess
import time

import pytest
from hpc_machine import MACHINE, OTHER_HOME, OTHER_VO, Connector, Jobs, on_hpc, reboot_hpc, slurm_jobs, until
from machine import files

from primage.clients.cluster import Ref
from primage.contract.names import SYSTEM_NAMESPACE, hpc_connector

pytestmark = pytest.mark.usefixtures("slurm")

ACCOUNT = "vo20002"
SECRET = Ref("v1", "Secret", "backend-hpc", OTHER_VO)
DEPLOYMENT = Ref("apps/v1", "Deployment", hpc_connector(OTHER_VO), SYSTEM_NAMESPACE)
RUNS = 'echo run >> "$SCRATCH_FILE"; sha256sum < in/data > out.txt'
POINTS = (
    "before-intent",
    "before-staging",
    "after-staging",
    "before-sbatch",
    "after-sbatch",
    "before-recording",
    "before-staging-out",
    "after-staging-out",
    "before-the-end",
    "before-tidying",
)
REST_POINTS = ("after-staging", "after-sbatch", "before-recording", "after-staging-out", "before-tidying")


@pytest.fixture(scope="module")
def _away(cluster):
    """The site's own connector of the second VO makes room for the ones of this machine."""
    cluster.patch(DEPLOYMENT, {"spec": {"replicas": 0}}, manager="test")
    labels = f"app.kubernetes.io/name=hpc-connector,app.kubernetes.io/instance={OTHER_VO}"
    until("the site's connector is gone", lambda: not cluster.list("v1", "Pod", SYSTEM_NAMESPACE, labels=labels))
    yield
    cluster.patch(DEPLOYMENT, {"spec": {"replicas": 1}}, manager="test")
    until("the site's connector is back", lambda: (cluster.get(DEPLOYMENT) or {}).get("status", {}).get("availableReplicas"))


@pytest.fixture
def connector(_away, tmp_path):
    found = Connector(tmp_path)
    yield found
    found.close()


@pytest.fixture
def jobs(connector, cluster):
    found = Jobs(cluster)
    yield found
    if not connector.lasts:
        connector.start()
    found.clear()


@pytest.fixture
def data():
    """An input of 3 MiB in the VO's HOME."""
    folder = OTHER_HOME / "in"
    folder.mkdir(exist_ok=True)
    (folder / "data").write_bytes(b"tissue" * ((3 << 20) // 6))
    assert (folder / "data").stat().st_size == 3 << 20
    yield hashlib.sha256((folder / "data").read_bytes()).hexdigest()
    subprocess.run(["rm", "-rf", str(folder), str(OTHER_HOME / "out.txt")], check=True, timeout=60)


def start(jobs, name="job", script=RUNS, **more):
    """A job that notes every run of it in a file that outlives its working folder."""
    env = [{"name": "SCRATCH_FILE", "value": f"/scratch/{ACCOUNT}/runs-{name}"}]
    on_hpc(f"rm -f /scratch/{ACCOUNT}/runs-{name}")
    return jobs.start(name, script, env=env, **more)


def runs(name="job"):
    noted = files(MACHINE) / f"scratch/{ACCOUNT}/runs-{name}"
    return str(noted.read_text().count("\n")) if noted.exists() else "0"


@pytest.mark.parametrize(
    ("host", "point"), [*(("hpc", point) for point in POINTS), *(("hpc-rest", point) for point in REST_POINTS)]
)
def test_killed_anywhere_a_job_is_run_once(connector, jobs, data, host, point):
    connector.start(point)
    job = start(jobs, host=host, inputs=["in/data"], outputs=["out.txt"])
    connector.died()
    connector.start()
    jobs.wait(job)
    assert runs() == "1"
    assert len(slurm_jobs(jobs.uid(job))) == 1
    assert (OTHER_HOME / "out.txt").read_text().split()[0] == data
    assert "failed" not in jobs.live(job)["status"]
    until("its folder is gone", lambda: jobs.uid(job) not in on_hpc(f"ls /scratch/{ACCOUNT}/primage"))


@pytest.mark.parametrize("point", ["before-cancel", "after-cancel"])
def test_killed_while_cancelling_nothing_is_left_in_slurm(connector, jobs, point):
    connector.start(point)
    job = start(jobs, script='echo run >> "$SCRATCH_FILE"; sleep 600')
    until("it runs", lambda: runs() == "1")
    uid = jobs.uid(job)
    jobs.cluster.delete(job, propagation="Background")
    connector.died()
    assert jobs.live(job), "it is let go only when Slurm has confirmed"
    connector.start()
    until("the job is gone", lambda: not jobs.live(job))
    assert [state for _, state in slurm_jobs(uid)] == ["CANCELLED"]


def test_cut_off_while_a_job_ends(connector, jobs):
    connector.start()
    job = start(
        jobs,
        script='echo run >> "$SCRATCH_FILE"; while [ -e "$SCRATCH_FILE.wait" ] || [ ! -e "$SCRATCH_FILE.go" ]; do sleep 0.2; done',
    )
    on_hpc(f"rm -f /scratch/{ACCOUNT}/runs-job.go")
    until("it runs", lambda: runs() == "1")
    on_hpc("iptables -A INPUT -p tcp --dport 22 -j DROP")
    try:
        until("people are told", lambda: jobs.reasons(job) & {"ConnectionLost", "Unreachable"})
        on_hpc(f"touch /scratch/{ACCOUNT}/runs-job.go")
    finally:
        on_hpc("iptables -D INPUT -p tcp --dport 22 -j DROP")
    jobs.wait(job)
    assert runs() == "1"


def test_slurm_restarted_under_a_job(connector, jobs):
    connector.start()
    job = start(jobs, script='echo run >> "$SCRATCH_FILE"; sleep 4')
    until("it runs", lambda: runs() == "1")
    on_hpc("systemctl stop slurmctld")
    try:
        until("people are told", lambda: "HpcUnavailable" in jobs.reasons(job))
    finally:
        on_hpc("systemctl start slurmctld")
    jobs.wait(job)
    assert runs() == "1"


def test_slurm_forgets_a_job_that_ended_meanwhile(connector, jobs):
    connector.start()
    job = start(jobs, script='echo run >> "$SCRATCH_FILE"; sleep 2; echo done > out.txt', outputs=["out.txt"])
    until("it runs", lambda: runs() == "1")
    connector.signal(signal.SIGSTOP)
    try:
        until("it has ended", lambda: slurm_jobs(jobs.uid(job))[0][1] == "COMPLETED")
        on_hpc("systemctl stop slurmctld; rm -rf /var/lib/slurm/slurmctld/*; systemctl start slurmctld")
        until("Slurm is back, and knows nothing", lambda: on_hpc("squeue --noheader --states=all", check=False).strip() == "")
    finally:
        connector.signal(signal.SIGCONT)
    jobs.wait(job)
    assert runs() == "1"
    assert (OTHER_HOME / "out.txt").read_text() == "done\n"
    (OTHER_HOME / "out.txt").unlink()
    # Slurm counts anew: a number that was used before must not be taken for the old job's.
    until("its node is back", lambda: "idle" in on_hpc("sinfo --noheader --format=%T", check=False))


def test_disk_full_on_the_hpc_machine(connector, jobs):
    on_hpc(f"mount -t tmpfs -o size=16k,mode=0777 none /scratch/{ACCOUNT}/primage || (mkdir -p /scratch/{ACCOUNT}/primage; exit 1)")
    on_hpc(f"head -c 20000 /dev/zero > /scratch/{ACCOUNT}/primage/full || true")
    try:
        connector.start()
        job = start(jobs, script=f"# {'x' * 50000}\necho fine")
        until("people are told", lambda: "HpcUnavailable" in jobs.reasons(job))
        assert slurm_jobs(jobs.uid(job)) == []
    finally:
        on_hpc(f"umount -l /scratch/{ACCOUNT}/primage")
    jobs.wait(job)


def test_disk_full_in_home(connector, jobs, tmp_path):
    home = tmp_path / "private" / OTHER_HOME.name
    home.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(home)], check=True, timeout=30)
    try:
        connector.private = home.parent
        connector.start()
        job = start(
            jobs, script='head -c 300000 /dev/zero | tr "\\0" x; head -c 100000 /dev/urandom > out.txt', outputs=["out.txt"]
        )
        until("people are told", lambda: "HomeUnavailable" in jobs.reasons(job))
        assert jobs.condition(job) == ""
        subprocess.run(["mount", "-o", "remount,size=4m", str(home)], check=True, timeout=30)
        jobs.wait(job)
        assert (home / "out.txt").stat().st_size == 100_000
        assert next(home.glob("jobs/job/*/1.log")).stat().st_size == 300_000
    finally:
        connector.close()
        subprocess.run(["umount", "-l", str(home)], check=True, timeout=30)


def test_login_refused_and_renewed_without_a_restart(connector, jobs, cluster, tmp_path):
    good = cluster.get(SECRET)["data"]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True, timeout=30)
    other = base64.b64encode((tmp_path / "other").read_bytes()).decode()
    cluster.patch(SECRET, {"data": {"ssh-privatekey": other}}, manager="test")
    try:
        connector.start()
        job = start(jobs, script="echo fine")
        until("people are told", lambda: "LoginRefused" in jobs.reasons(job))
    finally:
        cluster.patch(SECRET, {"data": {"ssh-privatekey": good["ssh-privatekey"]}}, manager="test")
    jobs.wait(job)


def test_another_host_key_is_not_trusted(connector, jobs, cluster, tmp_path):
    good = cluster.get(SECRET)["data"]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "host")], check=True, timeout=30)
    line = "10.89.77.13 " + " ".join((tmp_path / "host.pub").read_text().split()[:2])
    cluster.patch(SECRET, {"data": {"known_hosts": base64.b64encode(line.encode()).decode()}}, manager="test")
    try:
        connector.start()
        job = start(jobs, script="echo fine")
        until("people are told", lambda: "HostKeyRefused" in jobs.reasons(job))
        assert slurm_jobs(jobs.uid(job)) == []
    finally:
        cluster.patch(SECRET, {"data": {"known_hosts": good["known_hosts"]}}, manager="test")
    jobs.wait(job)


def test_jobs_of_a_deleted_namespace_or_forced_away_are_cancelled(connector, jobs):
    """Somebody takes the finalizer off and deletes the Job: what is in Slurm is ended all the same."""
    connector.start()
    job = start(jobs, script='echo run >> "$SCRATCH_FILE"; sleep 600')
    until("it runs", lambda: runs() == "1")
    uid = jobs.uid(job)
    connector.stop()
    jobs.cluster.patch(job, {"metadata": {"finalizers": None}}, manager="test")
    jobs.cluster.delete(job, propagation="Background")
    until("the job is gone", lambda: not jobs.live(job))
    connector.start()
    start(jobs, "another", script="sleep 5")
    until("the orphan is cancelled", lambda: [state for _, state in slurm_jobs(uid)] == ["CANCELLED"])


@pytest.mark.alone
def test_rebooted_under_a_job_it_is_tried_again(connector, jobs):
    """The node fails, the job is lost with it, and the next attempt succeeds."""
    connector.start()
    job = start(jobs, script='echo run >> "$SCRATCH_FILE"; [ "$(wc -l < "$SCRATCH_FILE")" = 2 ] || sleep 600')
    until("it runs", lambda: runs() == "1")
    reboot_hpc(time.monotonic())
    jobs.wait(job)
    assert runs() == "2"
    assert jobs.live(job)["status"]["failed"] == 1
    assert "NodeFailure" in jobs.reasons(job) or "Lost" in jobs.reasons(job) or "Failed" in jobs.reasons(job)
