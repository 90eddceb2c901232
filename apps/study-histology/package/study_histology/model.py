"""The classifier: a small convolutional network in Keras, trained and written down for those that test with it.

Equal inputs give an equal classifier, to the byte, however many cores a machine has: sums are split among two threads
everywhere. A processor without AVX2, or of another architecture, adds up in another order, and training makes much of
little: how far two machines may then differ is ACCURACY_VARIES_BY.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("PJRT_NPROC", "2")  # threads that sums are split among, on any number of cores

import numpy as np

from study_histology import PATCH
from study_histology.data import Patches, load
from study_histology.export import export
from study_histology.files import read_json, write_json, write_whole
from study_histology.machine import machine
from study_histology.orientations import any_orientation, as_input

SEED = 20221
BATCH = 64
LEARNING_RATE = 1e-3
ACCURACY_VARIES_BY = 0.02
"""How far the accuracies of what two kinds of machine train may lie apart; docs/explanation/study.md has what was measured."""


def build(steps: int) -> Any:
    """Three stages of convolutions, fewer and narrower than the network the paper trained on GPUs.

    Args:
        steps: of training, over which the learning rate goes down to nothing: where training stops is then no matter of luck.
    """
    import keras
    from keras import layers

    keras.utils.set_random_seed(SEED)
    network = keras.Sequential([keras.Input((PATCH, PATCH, 1)), layers.Conv2D(16, 3, strides=2, activation="relu")])
    for width in (24, 48):
        network.add(layers.Conv2D(width, 3, activation="relu", padding="same"))
        network.add(layers.BatchNormalization(momentum=0.9))
        network.add(layers.MaxPooling2D())
    for layer in (
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dropout(0.4),
        layers.Dense(2, activation="softmax"),
    ):
        network.add(layer)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    network.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return network


def train(out: Path, epochs: int) -> dict[str, Any]:
    """Train on `data/train.npz`; write `model.keras`, `model.onnx`, `history.json` and `training-curve.png`.

    Classes are weighted by how rare they are, as in the paper's source. Returns the history: a list per measure.
    """
    done = read_json(out / "history.json")
    if isinstance(done, dict) and done.get("epochs") == epochs and (out / "model.onnx").is_file():
        return done
    training, validation = load(out / "data" / "train.npz"), load(out / "data" / "validation.npz")
    network = build(epochs * -(-len(training.labels) // BATCH))
    started = time.monotonic()
    history = _fit(network, training, validation, epochs)
    seconds = round(time.monotonic() - started, 2)
    write_whole(out / "model.keras", network.save)
    export(network, out / "model.onnx")
    _draw(out / "training-curve.png", history)
    document = {"epochs": epochs, "seconds": seconds, "accuracy_varies_by": ACCURACY_VARIES_BY, "machine": machine(), **history}
    write_json(out / "history.json", document)
    return document


def _fit(network: Any, training: Patches, validation: Patches, epochs: int) -> dict[str, list[float]]:
    """Every epoch sees each patch once, in a newly drawn orientation."""
    counts = np.bincount(training.labels, minlength=2)
    weights = {label: float(counts.max() / count) for label, count in enumerate(counts)}
    images, checked = training.images(), (as_input(validation.images()), validation.labels)
    draw = np.random.default_rng(SEED)
    history: dict[str, list[float]] = {}
    for epoch in range(epochs):
        fitted = network.fit(
            as_input(any_orientation(images, draw)),
            training.labels,
            batch_size=BATCH,
            class_weight=weights,
            initial_epoch=epoch,
            epochs=epoch + 1,
            validation_data=checked,
            verbose=2,
        )
        for name, values in fitted.history.items():
            history.setdefault(name, []).extend(round(float(value), 6) for value in values)
    return history


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
