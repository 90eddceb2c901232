"""The classifier: a small convolutional network in Keras, trained and applied so that equal inputs give equal outputs."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
from numpy.typing import NDArray

from study_histology import PATCH
from study_histology.data import Images, load, read_partition
from study_histology.files import read_json, write_json, write_whole

SEED = 20221
BATCH = 64
"""Patches a step; also for prediction, so that results do not depend on how the test part is cut."""


def as_input(images: Images) -> NDArray[np.float32]:
    """Grey levels as numbers from 0 to 1, shape (n, 50, 50, 1)."""
    scaled: NDArray[np.float32] = images.astype(np.float32)[..., np.newaxis] / np.float32(255)
    return scaled


def build() -> Any:
    """Three stages of convolutions, fewer and narrower than the network the paper trained on GPUs."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(SEED)
    network = keras.Sequential([keras.Input((PATCH, PATCH, 1)), layers.Conv2D(16, 3, strides=2, activation="relu")])
    for width in (24, 48):
        network.add(layers.Conv2D(width, 3, activation="relu", padding="same"))
        network.add(layers.BatchNormalization())
        network.add(layers.MaxPooling2D())
    for layer in (
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dropout(0.4),
        layers.Dense(2, activation="softmax"),
    ):
        network.add(layer)
    network.compile(optimizer=keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return network


def train(out: Path, epochs: int) -> dict[str, Any]:
    """Train on `data/train.npz`; write `model.keras`, `history.json` and `training-curve.png`.

    Classes are weighted by how rare they are, as in the paper's source. Returns the history: a list per measure.
    """
    done = read_json(out / "history.json")
    if isinstance(done, dict) and done.get("epochs") == epochs and (out / "model.keras").is_file():
        return done
    training, validation = load(out / "data" / "train.npz"), load(out / "data" / "validation.npz")
    counts = np.bincount(training.labels, minlength=2)
    weights = {label: float(counts.max() / count) for label, count in enumerate(counts)}
    network = build()
    started = time.monotonic()
    fitted = network.fit(
        as_input(training.images), training.labels, batch_size=BATCH, epochs=epochs, class_weight=weights, verbose=2,
        validation_data=(as_input(validation.images), validation.labels),
    )  # fmt: skip
    history = {name: [round(float(v), 6) for v in values] for name, values in fitted.history.items()}
    document = {"epochs": epochs, "seconds": round(time.monotonic() - started, 2), **history}
    write_whole(out / "model.keras", network.save)
    _draw(out / "training-curve.png", history)
    write_json(out / "history.json", document)
    return document


@lru_cache(maxsize=2)
def _trained(out: Path) -> tuple[Any, Images]:
    """The network and the test part, read once a process however many partitions it deals with."""
    import keras

    return keras.models.load_model(out / "model.keras"), load(out / "data" / "test.npz").images


def predict(out: Path, partition: Path, results: Path) -> Path:
    """Classify the test patches a partition names; write the predicted classes to folder `results` as `<name>.npy`."""
    target = results / partition.with_suffix(".npy").name
    if target.is_file() and target.stat().st_mtime >= (out / "model.keras").stat().st_mtime:
        return target
    indices, _ = read_partition(partition)
    network, tests = _trained(out)
    images = as_input(tests[indices])
    # Whole batches only: a shorter last one would be another program to the compiler, and could round differently.
    padding = -len(images) % BATCH
    padded = np.concatenate([images, np.zeros((padding, *images.shape[1:]), np.float32)])
    classes = network.predict(padded, batch_size=BATCH, verbose=0).argmax(axis=1)[: len(images)].astype(np.uint8)
    write_whole(target, lambda part: np.save(part, classes))
    return target


def predict_path(path: str) -> None:
    """Classify one partition, as a consumer of a queue of paths; the folders come from its place.

    `<out>/partitions/p1.csv` gives `<out>/<HISTOLOGY_RESULTS>/p1.npy`.
    """
    partition = Path(path)
    out = partition.parent.parent
    print(predict(out, partition, out / os.environ["HISTOLOGY_RESULTS"]), flush=True)


def _draw(path: Path, history: dict[str, list[float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in sorted(history.items()):
        axes.plot(range(1, len(values) + 1), values, marker="o", label=name.replace("val_", "validation ").replace("_", " "))
    axes.set(title="Training", xlabel="epoch", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    write_whole(path, lambda part: figure.savefig(part, dpi=120))
