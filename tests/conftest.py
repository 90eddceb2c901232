"""What every tier shares: the repository, the local site, and which tests run after which."""

from __future__ import annotations

import gc
from dataclasses import asdict
from pathlib import Path

import pytest
from host import Host, front
from hypothesis import HealthCheck, settings
from turns import stands
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from primage.cli.root import SELDOM
from primage.local.site import LocalSite
from primage.local.turn import turn

# Machines are slow and shared: how long an example takes says nothing about the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
gc.set_threshold(SELDOM)  # as in every command

ROOT = Path(__file__).resolve().parents[1]


TOGETHER = {
    "integration/hostile/": "tenants",
    "integration/test_members.py": "tenants",
    "integration/test_login.py": "logins",
    "integration/test_login_faults.py": "logins",
    "integration/test_portal.py": "logins",
    "integration/test_memberships.py": "logins",
    "integration/test_session_login.py": "logins",
    "integration/test_first_day.py": "logins",
    "integration/test_hpc.py": "HPC",
    "integration/test_hpc_faults.py": "HPC",
    "integration/test_slurmrestd.py": "HPC",
    "integration/engines/test_site_program.py": "a site apart",
    "integration/engines/test_operations_after_pulumi.py": "after Pulumi",
    "integration/engines/": "Pulumi",
    "integration/test_desktop.py": "logins",
    "integration/test_howtos.py::test_a_how_to_works_as_written[open-a-desktop]": "logins",
    "integration/test_howtos.py::test_a_how_to_works_as_written[write-an-htc-application]": "how-to HTC",
}
"""Tests that use the same member or HPC account, or log in where one of them ends the identity provider, run one after the other;
any other file goes by itself.
"""

FIRST = (
    "tenants",
    "a site apart",
    "e2e/test_study_run.py",
    "after Pulumi",
    "Pulumi",
    "HPC",
    "logins",
    "integration/test_htc.py",
    "integration/test_roles.py",
    "how-to HTC",
    "integration/test_sessions.py",
    "integration/test_howtos.py",
    "integration/test_failures.py",
    "integration/test_cp.py",
    "integration/test_second_site.py",
)
"""Who starts before others: what works while the site is brought up, then the longest, so that all end at about one time."""


def together(nodeid: str) -> str:
    """The name of the tests that a test runs one after the other with: their group's, or their file's."""
    name = nodeid.removeprefix("tests/")
    return next((group for start, group in TOGETHER.items() if name.startswith(start)), name.partition("::")[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort them in the order in which groups start, which is the same in every process."""

    def place_of(item: pytest.Item) -> int:
        group = together(item.nodeid)
        return next((place for place, start in enumerate(FIRST) if group.startswith(start)), len(FIRST))

    items.sort(key=place_of)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """With `--dist loadscope`, hands out whole files, or several together, in the order they are in."""
    if config.getvalue("dist") != "loadscope":
        return None

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return together(nodeid)

    config.option.loadscopereorder = False
    return ByGroup(config, log)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


HOST_BEFORE = "primage/host-before"
"""In pytest's cache: the host before an earlier run stood the site up, and that site's first machine."""


@pytest.fixture(scope="session")
def host_before(pytestconfig: pytest.Config) -> Host | None:
    """The host before the tests, this run's or an earlier one's, brought the site up; None where somebody else did."""
    found = Host.now()
    if not found.has_site:
        return found
    seen = pytestconfig.cache.get(HOST_BEFORE, {})
    return Host(**seen["host"]) if seen and seen["front"] == front() else None


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest, pytestconfig: pytest.Config, testrun_uid: str) -> LocalSite:
    """The local site, up; of processes that test side by side, or one after the other in `make test`, one brings it up."""
    found, done = LocalSite(ROOT), stands(testrun_uid)
    with turn(done):
        if not done.exists():
            # Not an argument: only the process that brings the site up may look at the host before it.
            before: Host | None = request.getfixturevalue("host_before")
            found.up()
            if before:
                pytestconfig.cache.set(HOST_BEFORE, {"host": asdict(before), "front": front()})
            done.touch()
    return found
