"""The site brought up from the command line: killed in the middle, and again when there is nothing to do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from primage.local.images import storage
from primage.process import capture

pytestmark = [pytest.mark.site, pytest.mark.alone, pytest.mark.timeout(1500)]


def primage(*arguments):
    done = subprocess.run([sys.executable, "-m", "primage", *arguments], capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


PLAYBOOK = "ansible-playbook -i playbooks/inventories/local.yml"


@pytest.fixture
def playbooks():
    """Says which playbooks run that did not when the test began."""

    def found():
        return set(subprocess.run(["pgrep", "--full", PLAYBOOK], capture_output=True, text=True, check=False).stdout.split())

    before = found()
    return lambda: found() - before


def test_a_site_killed_on_its_way_up_whose_machines_lose_their_power_completes(site, playbooks):
    """Its whole process group is killed in the middle of a playbook, then every machine and podman's monitors at once.

    Podman still says that they run.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "primage", "site", "local", "up"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if "Make the cluster" in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    assert process.wait(timeout=30) == -signal.SIGKILL, "it ended before it could be killed:\n" + "".join(said)
    end = time.monotonic() + 60
    while left := playbooks():
        assert time.monotonic() < end, f"it changes machines after who started it is dead: {left}"
        time.sleep(0.2)
    names = ["primage-local-front", "primage-local-worker-1", "primage-local-hpc"]
    state = "{{.State.ConmonPid}} {{.State.Pid}}"
    pids = capture(["podman", "inspect", "--format", state, *names], env=storage.environment()).split()
    assert len(pids) == 2 * len(names)
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    primage("site", "local", "up")
    document = json.loads(primage("check", "local", "--json"))
    assert [check["name"] for check in document["checks"] if not check["ok"]] == []
    assert len(document["checks"]) >= 10
    assert document["ok"] is True


def test_run_again_nothing_changes(site):
    primage("site", "local", "up")
    for step in ("machines", "registry", "cluster", "hpc"):
        log = Path(f"/var/lib/primage/log/{step}.log").read_text()
        recap = log[log.rindex("PLAY RECAP") :]
        assert "changed=0" in recap
        assert recap.count("changed=") == recap.count("changed=0"), step
    assert '"counts": {"same":' in Path("/var/lib/primage/log/site.log").read_text().splitlines()[-1]
