"""What every tier shares: where the repository is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines are slow and shared: how long an example takes says nothing about the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def host() -> dict[str, list[str]]:
    """Interfaces, routes, firewall rules (without counters) and mounts of this host."""

    def lines(*command: str) -> list[str]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return sorted(line.split(" [")[0].strip() for line in done.stdout.splitlines() if not line.startswith("#"))

    return {
        "links": [line.split(": ")[1] for line in lines("ip", "-o", "link")],
        "routes": lines("ip", "route"),
        "rules": [line for line in lines("iptables-save") if line.startswith("-A")],
        "mounts": lines("mount"),
    }


@pytest.fixture(scope="session")
def host_before() -> dict[str, list[str]] | None:
    """The host before the tests stood a site up; None where one stood already."""
    import shutil

    if shutil.which("ip") is None:
        subprocess.run(["apt-get", "install", "-qq", "--yes", "iproute2"], capture_output=True, timeout=300, check=True)
    found = host()
    return None if any("10.89.77." in route for route in found["routes"]) else found


@pytest.fixture(scope="session")
def host_now() -> Callable[[], dict[str, list[str]]]:
    """Looks at the host when it is called."""
    return host
