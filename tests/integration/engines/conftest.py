"""Pulumi's own engine, on the standing site and on a control plane of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from both_engines import TALLY, Primage
from pulumi_tools import environment, tools
from turns import turn

from primage.local.site import LocalSite
from primage.paths import home_dir

BUILD_S = 3000
"""The longest that the first of these tests may take: on a new machine it builds Pulumi's engine, beside other tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.pulumi)
            item.add_marker(pytest.mark.timeout(BUILD_S), append=False)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TALLY.stacks:
        terminalreporter.write_line(
            f"Both engines made the same: {len(TALLY.stacks)} stacks ({', '.join(sorted(TALLY.stacks))}), {TALLY.objects} objects"
        )


@pytest.fixture(scope="session")
def pulumi_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with Pulumi's engine; built when it is not in the tool cache."""
    folder = tmp_path_factory.mktemp("pulumi")
    return tools(folder / "bin", folder / "build.log")


@pytest.fixture(scope="session")
def pulumi_environment(pulumi_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, str]]:
    """Makes an environment for Pulumi's engine with an empty backend."""
    return lambda: environment(pulumi_programs, tmp_path_factory.mktemp("pulumi-home"), os.environ["PATH"])


@pytest.fixture(scope="session")
def with_site(
    site: LocalSite, pulumi_environment: Callable[[], dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Primage:
    """`primage` for the standing site with both engines, the site itself moved to Pulumi's.

    The embedded engine's state is a copy, so that the site's own stays what it is.
    """
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(home_dir() / "state", home / "state")
    primage = Primage({**pulumi_environment(), "PRIMAGE_HOME": str(home)})
    with turn("site program"):
        primage("move", "local", "--to", "pulumi")
    return primage
