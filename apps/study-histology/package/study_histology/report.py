"""What the predictions are worth: classification report, confusion matrix, sensitivity and specificity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from study_histology.data import read_partition
from study_histology.files import read_json, write_json, write_whole
from study_histology.orientations import ORIENTATIONS
from study_histology.predict import processes

CLASSES = ("negative", "positive")


def report(out: Path, results: Path, other: Path | None = None) -> dict[str, Any]:
    """Combine all partitions' predictions; write `report.json`, `classification-report.txt` and `confusion-matrix.png`.

    Args:
        results: the folder with the predictions.
        other: a folder whose predictions must be the same, byte for byte.

    Raises:
        ValueError: a partition has no predictions, ones of another length, or others than in `other`.
    """
    from sklearn.metrics import classification_report, confusion_matrix

    labels, classes = [], []
    partitions = sorted((out / "partitions").glob("p*.csv"), key=lambda path: int(path.stem[1:]))
    for partition in partitions:
        target = results / partition.with_suffix(".npy").name
        if not target.is_file():
            raise ValueError(f"{partition.name} has no predictions yet: run `histology predict` for it")
        _, truth = read_partition(partition)
        predicted = np.load(target)
        if len(predicted) != len(truth):
            raise ValueError(
                f"{target.name} has {len(predicted)} predictions for {len(truth)} patches: remove it and predict again"
            )
        if other and (other / target.name).read_bytes() != target.read_bytes():
            raise ValueError(f"{target.name} is not the same in {results.name} and {other.name}")
        labels.append(truth)
        classes.append(predicted)
    truth, predicted = np.concatenate(labels), np.concatenate(classes)
    matrix = confusion_matrix(truth, predicted, labels=[0, 1])
    text = classification_report(truth, predicted, target_names=CLASSES, digits=3, zero_division=0)
    (negative, false_alarm), (missed, positive) = matrix.tolist()
    document = {
        "patches": len(truth),
        "predictions": ORIENTATIONS * len(truth),
        "accuracy": round((negative + positive) / len(truth), 4),
        "sensitivity": round(positive / (positive + missed), 4),
        "specificity": round(negative / (negative + false_alarm), 4),
        "confusion_matrix": matrix.tolist(),
        "majority_class_accuracy": round(float(max(truth.mean(), 1 - truth.mean())), 4),
        "data": read_json(out / "data" / "prepared.json"),
        "training": read_json(out / "history.json"),
        "processes": {folder.name: processes(folder) for folder in (other, results) if folder},
    }
    write_whole(out / "classification-report.txt", lambda part: part.write_text(text))
    _draw(out / "confusion-matrix.png", matrix)
    write_json(out / "report.json", document)
    return document


def _draw(path: Path, matrix: Any) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix, cmap="Blues")
    for (row, column), count in np.ndenumerate(matrix):
        shade = "white" if count > matrix.max() / 2 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=shade)
    axes.set(title="Confusion matrix", xlabel="predicted", ylabel="actual", xticks=[0, 1], yticks=[0, 1])
    axes.set_xticklabels(CLASSES)
    axes.set_yticklabels(CLASSES)
    write_whole(path, lambda part: figure.savefig(part, dpi=120))
