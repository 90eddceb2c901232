"""The study's own package, as plain processes with the libraries its image has; no site is needed."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from primage.local.images.wheels import unpack_wheels

pytestmark = pytest.mark.apart

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 7
CUT = ("--stride", 10, "--test-stride", 9, "--partitions", PARTITIONS)
TRAINING = ("--epochs", 8)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs Python with the study's libraries; returns what it printed."""
    log = tmp_path_factory.mktemp("libraries") / "log"
    libraries = unpack_wheels(ROOT / "apps/study-histology/requirements.txt", log)
    path = f"{libraries}:{ROOT / 'apps/study-histology/package'}"

    def run(*arguments, **environment):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="module")
def histology(python):
    """The package's command line."""

    def run(out, *arguments, **environment):
        return python("-m", "study_histology", "--out", out, *arguments, **environment)

    return run


@pytest.fixture(scope="module")
def trained(histology, tmp_path_factory):
    """A folder with patches far apart and a classifier that is quick to train and better than guessing."""
    out = tmp_path_factory.mktemp("study")
    histology(out, "run", *CUT, *TRAINING, "--steps", "prepare", "train", "predict")
    return out


def test_the_exported_classifier_says_what_keras_says(python, trained):
    script = """
import sys
from pathlib import Path
import keras, numpy as np, onnxruntime
from study_histology.data import load
from study_histology.orientations import as_input
out = Path(sys.argv[1])
patches = as_input(load(out / "data" / "test.npz").images())
theirs = keras.models.load_model(out / "model.keras").predict(patches, verbose=0)
(ours,) = onnxruntime.InferenceSession(out / "model.onnx").run(None, {"patches": patches})
print(len(theirs), np.abs(theirs - ours).max(), np.ptp(theirs[:, 0]))
"""
    count, difference, spread = map(float, python("-c", script, trained, KERAS_BACKEND="jax").split())
    assert count > 500
    assert difference < 1e-4
    assert spread > 0.5, "it says the same of every patch, so nothing was compared"


def test_training_again_gives_the_same_bytes_also_on_one_core(histology, trained, tmp_path):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # a process that is started inherits it
    try:
        histology(tmp_path, "run", *CUT, *TRAINING, "--steps", "prepare", "train")
    finally:
        os.sched_setaffinity(0, before)
    assert json.loads((tmp_path / "history.json").read_text())["machine"]["cores"] == 1
    assert (tmp_path / "model.onnx").read_bytes() == (trained / "model.onnx").read_bytes()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instruction sets are x86-64's")
def test_a_classifier_of_another_kind_of_machine_is_as_good_within_what_training_says(histology, trained, tmp_path):
    steps = ("--steps", "prepare", "train", "predict", "report")
    histology(tmp_path, "run", *CUT, *TRAINING, *steps, XLA_FLAGS="--xla_cpu_max_isa=SSE4_2")
    assert (tmp_path / "model.onnx").read_bytes() != (trained / "model.onnx").read_bytes(), (
        "it was trained by the same instructions"
    )
    histology(trained, "report")
    here, there = (json.loads((out / "report.json").read_text()) for out in (trained, tmp_path))
    assert here["accuracy"] > here["majority_class_accuracy"] + 0.2
    assert abs(here["accuracy"] - there["accuracy"]) <= here["training"]["accuracy_varies_by"]


def test_predictions_do_not_depend_on_how_the_test_part_is_cut(python, histology, trained, tmp_path):
    histology(tmp_path, "prepare", "--stride", 10, "--test-stride", 9, "--partitions", 2)
    (tmp_path / "model.onnx").write_bytes((trained / "model.onnx").read_bytes())
    histology(tmp_path, "predict")
    script = """
import sys
from pathlib import Path
import numpy as np
whole = [np.concatenate([np.load(folder / f"p{n}.npy") for n in range(1, int(count) + 1)])
         for folder, count in ((Path(sys.argv[1]), sys.argv[2]), (Path(sys.argv[3]), sys.argv[4]))]
print(len(whole[0]), np.array_equal(*whole))
"""
    made = python("-c", script, trained / "predictions", PARTITIONS, tmp_path / "predictions", 2).split()
    assert int(made[0]) > 500
    assert made[1] == "True"


def test_a_process_that_tests_starts_without_keras(python, trained, tmp_path):
    script = """
import sys
from pathlib import Path
from study_histology.predict import predict
out = Path(sys.argv[1])
predict(out, out / "partitions" / "p1.csv", Path(sys.argv[2]))
print(sorted({"keras", "jax", "sklearn", "skimage", "matplotlib", "onnx"} & set(sys.modules)))
"""
    assert python("-c", script, trained, tmp_path).strip() == "[]"
    assert (tmp_path / "p1.npy").exists()


def test_a_process_says_when_it_began_and_how_much_it_did(trained):
    (note,) = (trained / "predictions").glob("process-*.json")
    process = json.loads(note.read_text())
    assert process["partitions"] == PARTITIONS
    assert process["began"] < process["ended"]


def test_after_training_again_predictions_are_made_anew_though_the_classifier_is_the_same(histology, trained, tmp_path):
    """As it comes back from an HPC centre: what has the same bytes is left as it was."""
    out = tmp_path / "study"
    shutil.copytree(trained, out)
    os.utime(out / "history.json")
    before = {path.name: path.read_bytes() for path in (out / "predictions").iterdir()}
    histology(out, "predict")
    after = {path.name: path.read_bytes() for path in (out / "predictions").iterdir()}
    assert before.items() <= after.items()
    (note,) = after.keys() - before.keys()
    assert json.loads(after[note])["partitions"] == PARTITIONS
    histology(out, "report")
    assert len(json.loads((out / "report.json").read_text())["processes"]["predictions"]) == 1, "none of the earlier training"


def test_patches_of_the_idc_set_come_out_as_they_went_in(python, trained, tmp_path):
    script = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from study_histology.data import load, prepare
source, out = Path(sys.argv[1]), Path(sys.argv[2])
draw, given = np.random.default_rng(1), {}
for patient in range(40):
    folder = source / str(patient) / "0"
    folder.mkdir(parents=True)
    for number in range(4):
        name = f"{patient}_idx5_x{number}_y1_class{number % 2}.png"
        pixels = draw.integers(0, 256, (50, 50), dtype=np.uint8)
        Image.fromarray(pixels).convert("RGB").save(folder / name)
        given[f"{patient}/0/{name}"] = pixels
    Image.fromarray(pixels[:, :30]).save(folder / f"{patient}_idx5_x9_y1_class0.png")  # at a slide's edge
prepare(out, source, 3, 5, 1)
found = {}
for part in ("train", "validation", "test"):
    patches = load(out / "data" / f"{part}.npz")
    found |= dict(zip(patches.names, patches.images(), strict=True))
assert found.keys() == given.keys(), (len(found), len(given))
assert all(np.array_equal(found[name], given[name]) for name in given)
print("the same")
"""
    assert python("-c", script, tmp_path / "idc", tmp_path / "out").strip() == "the same"
