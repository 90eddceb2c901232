"""Patches with labels: the IDC set from a folder, or windows of real tissue that scikit-image ships.

IDC (Cruz-Roa et al. 2014, Janowczyk and Madabhushi 2016): PNG files `<patient>_idx5_x<X>_y<Y>_class<0|1>.png`; split by patient.

Tissue: scikit-image's immunohistochemistry picture (512 x 512, DAB-stained). A window is positive when at least a fifth of
it is stained, by colour deconvolution (Ruifrok and Johnston 2001). The model sees windows in grey, so that the label is no
threshold of its input. The split is by region: no window of one part overlaps any of another.

A part is one picture and the corners of its patches, since windows a pixel apart would be 2500 times the picture. The IDC
set's patches are one picture too, each below the one before.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from study_histology import PATCH
from study_histology.files import read_json, write_json, write_whole

PARTS = ("train", "validation", "test")
SPLIT = (0.50, 0.62)
"""Where the tissue is cut: left of the first for training, right of the second for testing, validation between them."""
STAINED_SHARE = 0.2
IDC_NAME = re.compile(r"(?P<patient>\w+)_idx\d+_x(?P<x>\d+)_y(?P<y>\d+)_class(?P<label>[01])\.png")

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Patches:
    """Patches of one part.

    Attributes:
        picture: what they are windows of, grey levels 0 to 255.
        corners: shape (n, 2), the row and the column of each one's first pixel in it.
        labels: shape (n,), 0 or 1.
        names: where each comes from: a file, or `x,y` of its corner in the tissue.
    """

    picture: Images
    corners: NDArray[np.int32]
    labels: Labels
    names: list[str]

    def images(self, indices: Indices | slice = slice(None)) -> Images:
        """Those patches, shape (n, 50, 50)."""
        rows, columns = self.corners[indices].T
        windows: Images = sliding_window_view(self.picture, (PATCH, PATCH))[rows, columns]
        return windows


def prepare(out: Path, source: Path | None, partitions: int, stride: int, test_stride: int) -> dict[str, object]:
    """Write `data/<part>.npz` for each part and the test part's partitions `partitions/p<i>.csv`.

    Args:
        source: folder with the IDC set; None for scikit-image's tissue.
        partitions: how many CSV files the test part is cut into.
        stride: distance between windows of the tissue, in pixels.
        test_stride: the same for the test part.

    Returns:
        what was prepared: source, counts and the share of positives, by part.
    """
    wanted = {
        "source": str(source or "scikit-image immunohistochemistry"),
        "partitions": partitions,
        "stride": stride,
        "test_stride": test_stride,
    }
    done = read_json(out / "data" / "prepared.json")
    if isinstance(done, dict) and done.get("wanted") == wanted:
        return done
    parts = read_idc(source) if source else cut_tissue(stride, test_stride)
    summary: dict[str, object] = {"wanted": wanted}
    for name, patches in parts.items():
        if len(set(patches.labels.tolist())) < 2:
            raise ValueError(f"the {name} part has patches of one class only; give more data")
        save(out / "data" / f"{name}.npz", patches)
        summary[name] = {"patches": len(patches.labels), "positive": round(float(patches.labels.mean()), 4)}
    write_partitions(out / "partitions", parts["test"], partitions)
    write_json(out / "data" / "prepared.json", summary)
    return summary


def cut_tissue(stride: int, test_stride: int) -> dict[str, Patches]:
    """Windows of the tissue picture, each part's from its own region (SPLIT)."""
    from skimage import color, data, filters, util

    picture = data.immunohistochemistry()
    stain = color.rgb2hed(picture)[:, :, 2]
    stained = stain > filters.threshold_otsu(stain)
    grey = util.img_as_ubyte(color.rgb2gray(picture))
    width = picture.shape[1]
    edges = (0, *(int(width * share) for share in SPLIT), width)
    spans = zip(PARTS, edges[:-1], edges[1:], strict=True)
    strides = {"train": stride, "validation": stride, "test": test_stride}
    return {part: _windows(grey, stained, left, right, strides[part]) for part, left, right in spans}


def _windows(grey: Images, stained: NDArray[np.bool_], left: int, right: int, stride: int) -> Patches:
    down, across = np.arange(0, grey.shape[0] - PATCH + 1, stride), np.arange(left, right - PATCH + 1, stride)
    corners = np.stack(np.meshgrid(down, across, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int32)
    # How much of any window is stained, by four looks at the sums of all that is above and to the left.
    sums = np.pad(stained.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    y, x = corners.T
    count = sums[y + PATCH, x + PATCH] - sums[y, x + PATCH] - sums[y + PATCH, x] + sums[y, x]
    labels = (count >= STAINED_SHARE * PATCH * PATCH).astype(np.uint8)
    return Patches(grey, corners, labels, [f"{x},{y}" for y, x in corners.tolist()])


def read_idc(folder: Path) -> dict[str, Patches]:
    """The IDC set, each patient wholly in one part: 80 % train, 10 % validation, 10 % test, by a hash of the patient's number."""
    from PIL import Image

    found: dict[str, tuple[list[Images], list[int], list[str]]] = {part: ([], [], []) for part in PARTS}
    for path in sorted(folder.rglob("*.png")):
        match = IDC_NAME.fullmatch(path.name)
        if not match:
            continue
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"))
        if grey.shape != (PATCH, PATCH):  # the set has some narrower ones at the slides' edges
            continue
        images, labels, names = found[_part_of(match["patient"])]
        images.append(grey)
        labels.append(int(match["label"]))
        names.append(str(path.relative_to(folder)))
    empty = [part for part, (images, _, _) in found.items() if not images]
    if empty:
        raise ValueError(f"{folder} has too few IDC patches: nothing for {', '.join(empty)}")
    return {part: _stacked(images, labels, names) for part, (images, labels, names) in found.items()}


def _stacked(images: list[Images], labels: list[int], names: list[str]) -> Patches:
    corners = np.zeros((len(images), 2), dtype=np.int32)
    corners[:, 0] = PATCH * np.arange(len(images))
    return Patches(np.concatenate(images), corners, np.array(labels, dtype=np.uint8), names)


def _part_of(patient: str) -> str:
    draw = int(hashlib.sha256(patient.encode()).hexdigest(), 16) % 10
    return "train" if draw < 8 else "validation" if draw == 8 else "test"


def save(path: Path, patches: Patches) -> None:
    """One part as a compressed NumPy archive."""
    arrays = {"picture": patches.picture, "corners": patches.corners, "labels": patches.labels, "names": np.array(patches.names)}
    write_whole(path, lambda part: np.savez_compressed(part, **arrays))


def load(path: Path) -> Patches:
    """Read a part back."""
    with np.load(path) as archive:
        return Patches(archive["picture"], archive["corners"], archive["labels"], archive["names"].tolist())


def write_partitions(folder: Path, test: Patches, count: int) -> None:
    """Cut the test part into `count` CSV files with columns index, name, label; every patch is in exactly one."""
    for number, indices in enumerate(np.array_split(np.arange(len(test.labels)), count), start=1):

        def write(part: Path, rows: Indices = indices) -> None:
            with part.open("w", newline="") as stream:
                table = csv.writer(stream)
                table.writerow(["index", "name", "label"])
                table.writerows([int(i), test.names[int(i)], int(test.labels[int(i)])] for i in rows)

        write_whole(folder / f"p{number}.csv", write)
    for path in folder.glob("p*.csv"):  # of an earlier cut into more parts
        if int(path.stem[1:]) > count:
            path.unlink()


def read_partition(path: Path) -> tuple[Indices, Labels]:
    """Indices into the test part and their labels."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return np.array([int(r["index"]) for r in rows], dtype=np.int64), np.array([int(r["label"]) for r in rows], dtype=np.uint8)
