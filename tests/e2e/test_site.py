"""What a person does first: the study from the command line, and the same commands again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from primage.images import storage
from primage.images.wheels import unpack_wheels
from primage.local.site import LocalSite
from primage.process import capture

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.site, pytest.mark.timeout(1500)]


def primage(*arguments):
    done = subprocess.run([sys.executable, "-m", "primage", *arguments], capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    LocalSite(ROOT).up()
    out = tmp_path_factory.mktemp("study")
    return out, json.loads(primage("study", "--out", str(out), "--json"))


def test_the_study_is_better_than_guessing(study):
    report = study[1]["report"]
    assert report["patches"] > 2000
    assert report["accuracy"] > report["majority_class_accuracy"] + 0.05
    assert report["sensitivity"] > 0.5
    assert report["specificity"] > 0.5
    assert sum(map(sum, report["confusion_matrix"])) == report["patches"]


def test_its_files_arrive_whole(study):
    out, document = study
    for name in document["files"]:
        assert Path(name).stat().st_size > 0
    for name in ("confusion-matrix.png", "training-curve.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_no_window_of_one_part_overlaps_another(study, tmp_path):
    libraries = unpack_wheels(ROOT / "apps/study-histology/requirements.txt", tmp_path / "log")
    script = """
import sys
from study_histology.data import cut_tissue
from study_histology import PATCH
spans = {}
for part, patches in cut_tissue(4).items():
    columns = [int(name.split(',')[0]) for name in patches.names]
    spans[part] = (min(columns), max(columns) + PATCH)
ordered = sorted(spans.values())
assert all(left[1] <= right[0] for left, right in zip(ordered, ordered[1:])), spans
print('apart')
"""
    path = f"{libraries}:{ROOT / 'apps/study-histology/package'}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "apart", done.stderr


def test_predictions_equal_those_of_the_same_code_outside_the_cluster(study, tmp_path):
    """Bit for bit: the model the cluster trained, the same partitions, a plain process here."""
    import shutil

    libraries = unpack_wheels(ROOT / "apps/study-histology/requirements.txt", tmp_path / "log")
    home = Path("/var/lib/primage/local/shared/home/vo.primage.eu/private/vo.primage.eu/histology")
    shutil.copytree(home, tmp_path / "copy")
    for made in (tmp_path / "copy/partitions").glob("*.npy"):
        made.unlink()
    path = f"{libraries}:{ROOT / 'apps/study-histology/package'}"
    command = [sys.executable, "-m", "study_histology", "--out", str(tmp_path / "copy"), "predict"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True, timeout=300)
    theirs = sorted((home / "partitions").glob("*.npy"))
    assert theirs
    for made in theirs:
        assert (tmp_path / "copy/partitions" / made.name).read_bytes() == made.read_bytes()


def test_run_again_nothing_changes(study, tmp_path):
    assert json.loads(primage("up", "study-histology/vo.primage.eu.local", "--json"))["changes"] == []
    primage("site", "local", "up")
    log = Path("/var/lib/primage/log/cluster.log").read_text()
    recap = log[log.rindex("PLAY RECAP") :]
    assert "changed=0" in recap
    assert recap.count("changed=") == recap.count("changed=0")
    assert '"counts": {"same":' in Path("/var/lib/primage/log/site.log").read_text().splitlines()[-1]


def test_a_site_killed_on_its_way_up_completes(study):
    """Kill the whole process group in the middle of a playbook; the next run goes on."""
    import signal

    process = subprocess.Popen(
        [sys.executable, "-m", "primage", "site", "local", "up"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for line in process.stderr:
        if "Make the cluster" in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait(timeout=30)
    assert process.returncode == -signal.SIGKILL
    primage("site", "local", "up")
    assert json.loads(primage("check", "local", "--json"))["ok"] is True


def test_machines_that_lost_their_power_come_back(study):
    """Every machine and podman's monitors killed at once: podman still says that they run."""
    import signal

    names = ["primage-local-front", "primage-local-worker-1"]
    state = "{{.State.ConmonPid}} {{.State.Pid}}"
    pids = capture(["podman", "inspect", "--format", state, *names], env=storage.environment()).split()
    assert len(pids) == 2 * len(names)
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    primage("site", "local", "up")
    assert json.loads(primage("check", "local", "--json"))["ok"] is True
