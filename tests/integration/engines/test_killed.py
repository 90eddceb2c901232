"""`primage up` and `pulumi up` killed at any moment: the next run finishes, and a destroy leaves nothing."""

import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from both_engines import owned

from primage.engine.ownership import APP_KINDS
from primage.engine.pulumi_cli.command import workspace
from primage.projects.project import parse_stack_name

ROOT = Path(__file__).resolve().parents[3]
STACK = "htc/vo.primage.eu.local--killed"
TIMES = int(os.environ.get("PRIMAGE_KILLS", "2"))
LONGEST_S = 8.0
MOMENTS = [(engine, random.Random(seed).uniform(0.3, LONGEST_S)) for engine in ("embedded", "pulumi") for seed in range(TIMES)]


@contextmanager
def begun(engine):
    """The engine's own `up` of the stack, as a group of processes: its command, and where it runs."""
    if engine == "embedded":
        yield [sys.executable, "-m", "primage", "up", STACK, "--engine", engine], ROOT
        return
    name = parse_stack_name(STACK)
    with workspace(name, {}) as here:
        here.run("stack", "init", "--no-select")
        yield ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", name.stack], here.folder


def kill(process):
    """The whole group at once, and what has left it: Pulumi gives each plugin a group of its own."""
    session = {int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if of_session(path, process.pid)}
    for each in (process.pid, *session):
        with suppress(ProcessLookupError):  # it has ended before
            os.kill(each, signal.SIGKILL)
    process.wait(timeout=60)


def of_session(path, session):
    with suppress(OSError):
        return int(path.read_text().rpartition(")")[2].split()[3]) == session
    return False


@pytest.mark.parametrize(("engine", "moment"), MOMENTS, ids=[f"{engine} {moment:.1f} s" for engine, moment in MOMENTS])
def test_a_killed_up_is_finished_by_the_next_and_leaves_nothing(with_site, cluster, monkeypatch, tmp_path, engine, moment):
    for key, value in with_site.environment.items():
        monkeypatch.setenv(key, value)
    with begun(engine) as (command, folder), (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, start_new_session=True)
        with suppress(subprocess.TimeoutExpired):  # that is the moment
            process.wait(timeout=moment)
        kill(process)
    try:
        with_site("up", STACK, "--engine", engine)
        assert with_site("preview", STACK, "--engine", engine)["changes"] == []
    finally:
        with_site("destroy", STACK, "--engine", engine)
    assert owned(cluster, STACK, APP_KINDS) == {}
