"""What a person does first: the study, from the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from primage.clients.cluster import Cluster, Ref
from primage.local.images.wheels import unpack_wheels

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.site, pytest.mark.quiet, pytest.mark.timeout(1500)]


def primage(*arguments):
    done = subprocess.run([sys.executable, "-m", "primage", *arguments], capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


SMALLER = ("--config", "study.test_stride=4", "--config", "study.epochs=2")
"""A sixteenth of the windows that the study tests otherwise, and less training; `make bench` measures all of it."""
HOME = Path("/var/lib/primage/local/shared/home/vo.primage.eu/private/vo.primage.eu/histology")


@pytest.fixture(scope="module")
def study(site, tmp_path_factory):
    """The study, killed while its consumers work, and gone on with."""
    out = tmp_path_factory.mktemp("study")
    first = subprocess.Popen(
        [sys.executable, "-m", "primage", "study", "--again", *SMALLER, "--out", str(out)], stderr=subprocess.PIPE, text=True
    )
    for line in first.stderr:
        if "histology-htc-consumers  waiting" in line and "pods running" in line:
            first.kill()
            break
    assert first.wait(timeout=30) == -9, "it ended before it could be killed"
    return out, json.loads(primage("study", *SMALLER, "--out", str(out), "--json"))


def test_the_study_is_better_than_guessing(study):
    report = study[1]["report"]
    assert report["predictions"] > 30_000
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
    page = (out / "study.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page, "the page is to need nothing else"


def test_the_notebook_has_been_run_from_its_first_cell_to_its_last(study):
    out, _ = study
    cells = [cell for cell in json.loads((out / "results.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    text = "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")
    assert (out / "classification-report.txt").read_text().strip() in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert (out / "results.html").stat().st_size > 100_000


def test_table_3_has_every_figure_there_is(study):
    document = study[1]
    for name, paper in (("local", "local"), ("batch", "batch"), ("HTC", "HTC")):
        ours = document["seconds"][name]
        assert set(ours) == set(document["paper"])
        assert ours["execution"] > 0
        assert ours["total"] >= ours["execution"], paper
    assert document["consumers"] == min(4, os.cpu_count())


def test_consumers_share_the_work_of_one_batch_job(study):
    processes = study[1]["report"]["processes"]
    (batch,), consumers = processes["predictions-batch"], processes["predictions-htc"]
    assert len(consumers) == study[1]["consumers"]
    assert sum(each["partitions"] for each in consumers) >= batch["partitions"] == 128


def test_the_study_run_again_takes_nothing_anew(study):
    out, before = study
    again = json.loads(primage("study", *SMALLER, "--out", str(out), "--json"))
    assert again["seconds"] == before["seconds"]
    assert again["report"] == before["report"]


def test_it_was_trained_on_slurm(study):
    job = Cluster("/var/lib/primage/local/kubeconfig").get(Ref("batch/v1", "Job", "histology-train", "vo-dot-primage-dot-eu"))
    assert job["spec"]["managedBy"] == "hpc.primage.eu/connector"
    assert job["metadata"]["annotations"]["hpc.primage.eu/slurm-job"].isdigit()


def test_no_window_of_one_part_overlaps_another(study, tmp_path):
    libraries = unpack_wheels(ROOT / "apps/study-histology/requirements.txt", tmp_path / "log")
    script = """
import sys
from study_histology.data import cut_tissue
from study_histology import PATCH
spans = {}
for part, patches in cut_tissue(5, 1).items():
    columns = patches.corners[:, 1]
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
    libraries = unpack_wheels(ROOT / "apps/study-histology/requirements.txt", tmp_path / "log")
    shutil.copytree(HOME, tmp_path / "copy", ignore=shutil.ignore_patterns("predictions*"))
    path = f"{libraries}:{ROOT / 'apps/study-histology/package'}"
    # The study itself has compared all of them.
    some = [str(tmp_path / "copy/partitions" / f"p{number}.csv") for number in (1, 40, 80, 128)]
    command = [sys.executable, "-m", "study_histology", "--out", str(tmp_path / "copy"), "predict", *some]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True, timeout=300)
    ours = {made.name: made.read_bytes() for made in (tmp_path / "copy/predictions").glob("*.npy")}
    assert len(ours) == len(some)
    for folder in ("predictions-batch", "predictions-htc"):
        assert len(list((HOME / folder).glob("*.npy"))) == 128
        assert {name: (HOME / folder / name).read_bytes() for name in ours} == ours
