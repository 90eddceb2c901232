"""Machines beside the standing site come and go, and a machine that lost what it stands on is brought back."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from primage.clients.cluster import Cluster
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import ExitCode, PrimageError
from primage.local.images import storage
from primage.local.images.catalogue import MACHINE
from primage.process import capture
from primage.projects.project import parse_stack_name

ROOT = Path(__file__).resolve().parents[2]
NODES = ("front", "worker-1")
SITE_MACHINES = (*NODES, "hpc")
RUN = parse_stack_name("batch/vo.primage.eu.local--beside-machines")
JOB = {"name": "stay", "image": "primage/base:1", "cpu": "50m", "memory": "32Mi", "backoff_limit": 0}
HOME = Path("/var/lib/primage/local/shared/home/vo.primage.eu/shared")
# What kubelet says of pods' cgroups that it takes for its own and cannot remove. "Cleaned up orphaned pod volumes dir" is
# no complaint: it says so of each pod that has ended.
ORPHANS = """journalctl --unit kubelet --since @{since} --output cat \\
| grep --ignore-case orphan | grep --count --invert-match 'Cleaned up' || true"""


def podman(*arguments, timeout_s=120):
    return capture(["podman", *arguments], env=storage.environment(), timeout_s=timeout_s)


def on(machine, script):
    return podman("exec", f"primage-local-{machine}", "sh", "-c", script).strip()


def restarts(cluster: Cluster) -> dict[str, int]:
    """How often each container of the system's pods has been started again."""
    return {
        f"{pod['metadata']['name']}/{status['name']}": status["restartCount"]
        for pod in cluster.list("v1", "Pod", "kube-system")
        for status in pod["status"].get("containerStatuses", [])
    }


def daemons() -> dict[str, str]:
    """The processes on each machine that must not be other ones afterwards."""
    units = {"front": "containerd kubelet ssh", "worker-1": "containerd kubelet ssh", "hpc": "slurmctld slurmd ssh"}
    return {machine: on(machine, f"systemctl show --property MainPID --value {names}") for machine, names in units.items()}


def since_now() -> int:
    """This second as journalctl wants it; the next one has begun when this returns."""
    second = int(time.time()) + 1
    while time.time() < second:
        time.sleep(0.05)
    return second


def comes_and_goes(number: int) -> str:
    """One machine of another instance: made, up, removed; says what its systemd said."""
    name = f"primage-beside-{number}"
    podman(
        "run",
        "--detach",
        "--privileged",
        "--systemd=always",
        "--cgroupns=private",
        "--network",
        "none",
        "--tmpfs",
        "/run",
        "--tmpfs",
        "/tmp",
        "--name",
        name,
        "--label",
        "eu.primage.instance=primage-beside",
        MACHINE,
        "/sbin/init",
    )
    try:
        ready = "until systemctl is-system-running --wait 2>/dev/null | grep -E 'running|degraded'; do sleep 0.2; done"
        return podman("exec", name, "timeout", "60", "sh", "-c", ready).strip()
    finally:
        podman("rm", "--force", "--volumes", "--time", "5", name)


@contextlib.contextmanager
def a_job_at_work() -> Iterator[None]:
    """A Job that ends when the block does, not before; the block fails with it."""
    go = HOME / "machines-have-gone"
    go.unlink(missing_ok=True)
    stay = ["sh", "-c", f"until [ -e /primage/HOME/shared/{go.name} ]; do sleep 1; done"]
    job = {**JOB, "command": stay, "deadline_seconds": 300}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(EmbeddedEngine().up, RUN, Options(overrides={"job": job}))
        try:
            yield
        finally:
            go.touch()
            running.result(timeout=300)
            EmbeddedEngine().destroy(RUN, Options())
            go.unlink()


def ten_machines_come_and_go(cluster: Cluster) -> None:
    before, processes, before_them, since = restarts(cluster), daemons(), leftovers(), since_now()
    with a_job_at_work(), ThreadPoolExecutor(3) as pool:
        said = list(pool.map(comes_and_goes, range(10)))
    assert said == ["running"] * 10
    assert {machine: on(machine, "systemctl is-system-running") for machine in SITE_MACHINES} == dict.fromkeys(
        SITE_MACHINES, "running"
    )
    assert daemons() == processes
    assert restarts(cluster) == before
    assert {node: on(node, ORPHANS.format(since=since)) for node in NODES} == dict.fromkeys(NODES, "0")
    end = time.monotonic() + 60
    while left := leftovers() - before_them:
        assert time.monotonic() < end, f"cgroups of machines that have gone: {left}"
        time.sleep(0.2)


def leftovers() -> set[Path]:
    """Cgroups of containers that are no more; podman's monitor removes them a moment after the container."""
    places = ("libpod_parent/libpod-*", "*/libpod_parent/libpod-*")
    found = {path for place in places for path in Path("/sys/fs/cgroup").glob(place)}
    there = set(podman("ps", "--all", "--quiet", "--no-trunc").split())
    return {path for path in found if path.name.removeprefix("libpod-") not in there}


@pytest.mark.quiet
def test_ten_machines_come_and_go_beside_the_site_and_touch_nothing_of_it(site, cluster):
    ten_machines_come_and_go(cluster)


@pytest.mark.quiet
def test_machines_do_not_see_each_others_cgroups(site):
    seen = {machine: on(machine, "find /sys/fs/cgroup/systemd -maxdepth 3 -type d | sort") for machine in NODES}
    pods = {machine: {line for line in said.splitlines() if "-pod" in line} for machine, said in seen.items()}
    assert all(pods.values())
    assert not pods["front"] & pods["worker-1"]
    assert "libpod" not in seen["front"] + seen["worker-1"], "the host's own hierarchy"


@pytest.mark.quiet
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cgroupns=private"], "the host's hierarchy cannot be unmounted"),
        (["--privileged", "--cgroupns=host"], "it has no cgroup namespace of its own"),
    ],
    ids=["it may not mount", "it is given the host's cgroups"],
)
def test_a_machine_that_cannot_have_its_own_cgroups_does_not_start(site, options, words):
    command = ["podman", "run", "--rm", "--systemd=always", "--network=none", *options, MACHINE, "/sbin/init"]
    environment = {**os.environ, **storage.environment()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 1
    assert "not started, because its cgroups would be shared" in done.stderr
    assert words in done.stderr


@pytest.mark.alone
def test_a_host_that_cannot_isolate_machines_is_refused_before_anything_is_made(site):
    """Root without the right to mount, as in an ordinary container."""
    logs = Path("/var/lib/primage/log")
    before = {path: path.stat().st_mtime_ns for path in logs.glob("*.log")}
    command = [
        "setpriv",
        "--bounding-set=-sys_admin",
        "--inh-caps=-sys_admin",
        sys.executable,
        "-m",
        "primage",
        "site",
        "local",
        "up",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitCode.UNSUPPORTED
    assert "machines on this host would share their cgroups" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in logs.glob("*.log")} == before


def lose_cgroups(machine: str) -> None:
    """What the removal of another machine did: systemd's hierarchy loses the folder that podman made for this one."""
    identity = podman("inspect", "--format", "{{.Id}}", f"primage-local-{machine}").strip()
    top = Path("/sys/fs/cgroup/systemd")
    own = top / "libpod_parent" / f"libpod-{identity}"
    folders = sorted([own, *(path for path in own.rglob("*") if path.is_dir())], key=lambda path: len(path.parts), reverse=True)
    for folder in folders:
        for process in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (top / "cgroup.procs").write_text(process)
        folder.rmdir()


def first_process(machine: str) -> str:
    return podman("inspect", "--format", "{{.State.Pid}}", f"primage-local-{machine}").strip()


@pytest.mark.alone
def test_a_machine_that_lost_its_cgroups_or_a_mount_is_brought_back_and_no_other_is_touched(site, cluster):
    if not Path("/sys/fs/cgroup/systemd").is_dir():
        pytest.skip("with cgroups of version 2 the kernel takes no folder away that is in use")
    before = {machine: first_process(machine) for machine in SITE_MACHINES}
    lose_cgroups("worker-1")
    on("hpc", "umount /opt/primage")
    with pytest.raises(PrimageError, match="no such file or directory"):
        on("worker-1", "true")
    subprocess.run(site._ansible("local-site"), cwd=ROOT, check=True, timeout=300, capture_output=True)
    after = {machine: first_process(machine) for machine in SITE_MACHINES}
    assert after["front"] == before["front"]
    assert after["worker-1"] != before["worker-1"]
    assert after["hpc"] != before["hpc"]
    assert on("worker-1", "systemctl is-system-running") == "running"
    assert "study-histology" in on("hpc", "ls /opt/primage")
    look = {"node_selector": {"kubernetes.io/hostname": "worker-1"}, "command": ["true"], "deadline_seconds": 120}
    EmbeddedEngine().up(RUN, Options(overrides={"job": {**JOB, **look}}))
    EmbeddedEngine().destroy(RUN, Options())
    on("hpc", "timeout 60 srun --partition=short true")
