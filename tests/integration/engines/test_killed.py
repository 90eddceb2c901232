"""`pulumi up` killed at any moment: the next run finishes, and a destroy leaves nothing."""

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest
from both_engines import owned

from primage.engine.ownership import APP_KINDS
from primage.engine.pulumi_cli.command import workspace
from primage.projects.project import parse_stack_name

STACK = "htc/vo.primage.eu.local--killed"
TIMES = int(os.environ.get("PRIMAGE_KILLS", "3"))
LONGEST_S = 8.0
MOMENTS = [random.Random(seed).uniform(0.3, LONGEST_S) for seed in range(TIMES)]


@pytest.mark.parametrize("moment", MOMENTS, ids=[f"{moment:.1f} s" for moment in MOMENTS])
def test_a_killed_up_is_finished_by_the_next_and_leaves_nothing(with_site, cluster, monkeypatch, moment):
    for key, value in with_site.environment.items():
        monkeypatch.setenv(key, value)
    name = parse_stack_name(STACK)
    with workspace(name, {}) as here:
        here.run("stack", "init", "--no-select")
        command = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", name.stack]
        with (here.folder / "out").open("wb") as out:
            process = subprocess.Popen(command, cwd=here.folder, stdout=out, stderr=out, start_new_session=True)
            deadline = time.monotonic() + moment
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.01)
            with contextlib.suppress(ProcessLookupError):  # it has ended before
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    try:
        with_site("up", STACK, "--engine", "pulumi")
        assert with_site("preview", STACK, "--engine", "pulumi")["changes"] == []
    finally:
        with_site("destroy", STACK, "--engine", "pulumi")
    assert owned(cluster, STACK, APP_KINDS) == {}
