"""What every tier shares: where the repository is."""

from __future__ import annotations

import os
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


def front() -> str:
    """The identity of the local site's first machine; empty when there is none."""
    import shutil

    from primage.local.images import storage

    if shutil.which("podman") is None:
        return ""
    command = ["podman", "inspect", "--format", "{{.Id}}", "primage-local-front"]
    environment = {**os.environ, **storage.environment()}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment).stdout.strip()


HOST_BEFORE = "primage/host-before"
"""In pytest's cache: the host before an earlier run stood the site up, and that site's first machine."""


@pytest.fixture(scope="session")
def host_before(pytestconfig: pytest.Config) -> dict[str, list[str]] | None:
    """The host before the tests, this run's or an earlier one's, stood the site up; None where somebody else did."""
    import shutil

    if shutil.which("ip") is None:
        subprocess.run(["apt-get", "install", "-qq", "--yes", "iproute2"], capture_output=True, timeout=300, check=True)
    found = host()
    if not any("10.89.77." in route for route in found["routes"]):
        return found
    seen = pytestconfig.cache.get(HOST_BEFORE, {})
    return seen["host"] if seen and seen["front"] == front() else None


@pytest.fixture(scope="session")
def site_is_up(pytestconfig: pytest.Config, host_before: dict[str, list[str]] | None) -> Callable[[], None]:
    """Notes the host as it was, once the site stands."""
    return lambda: pytestconfig.cache.set(HOST_BEFORE, {"host": host_before, "front": front()}) if host_before else None


@pytest.fixture(scope="session")
def host_now() -> Callable[[], dict[str, list[str]]]:
    """Looks at the host when it is called."""
    return host
