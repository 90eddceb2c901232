"""`make down` leaves the host as it was. Runs last: it takes the site away."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from host import Host

pytestmark = [pytest.mark.site, pytest.mark.timeout(600)]


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def rules():
    """Firewall rules without their counters and dates."""
    return [
        line.split(" [")[0]
        for line in said("iptables-save").splitlines()
        if line and not line.startswith(("#", "*", ":", "COMMIT"))
    ]


def processes():
    names = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            names.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return names


HOME = Path("/var/lib/primage")
# What a second site operated from this machine has there; its name and its VO's begin or end as the local one's.
OTHERS = (
    "state/primage/local-2.json",
    "state/primage-batch/vo.local.upv.json",
    "log/upv.log",
    "upv/kubeconfig",
    "upv/home/vo/private/file",
)
OURS = ("primage", "NETAVARK", "netavark", "podman", "cni0", "10.89.77.")


def test_down_leaves_the_host_as_it_was(host_before):
    up = subprocess.run(
        [sys.executable, "-m", "primage", "site", "local", "status", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(up.stdout)["machines"], "the site must stand, or this proves nothing"
    assert any("10.89.77." in rule for rule in rules())
    for name in OTHERS:
        (HOME / name).parent.mkdir(parents=True, exist_ok=True)
        (HOME / name).write_text(f"the other site's {name}")
    done = subprocess.run(
        [sys.executable, "-m", "primage", "site", "local", "down"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [rule for rule in rules() if any(word in rule for word in OURS)] == []
    assert "NETAVARK" not in said("iptables-save")
    links = said("ip", "-o", "link")
    assert not any(word in links for word in ("podman", "veth"))
    assert not any(word in said("mount") for word in ("/var/lib/primage", "/var/cache/primage", "/run/primage", "/srv/primage"))
    assert "10.89.77." not in said("ip", "route")
    running = [
        line
        for line in processes()
        if any(word in line for word in ("containerd-shim", "conmon", "kubelet ", "kube-apiserver", "aardvark"))
    ]
    assert running == []
    left = {str(path.relative_to(HOME)): path.read_text() for path in HOME.rglob("*") if path.is_file()}
    assert left == {name: f"the other site's {name}" for name in OTHERS}
    for name in OTHERS:
        (HOME / name).unlink()
    shutil.rmtree(HOME / "upv")
    if host_before is not None:  # a site that stood before the tests hides how the host was without one
        assert Host.now() == host_before


def test_down_again_is_quiet_and_takes_empty_folders_along():
    done = subprocess.run(
        [sys.executable, "-m", "primage", "site", "local", "down"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not HOME.exists()
