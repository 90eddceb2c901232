"""Tissue has no up and down: a patch means the same in each of its eight orientations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from study_histology.data import Images

ORIENTATIONS = 8
"""A square's symmetries: four turns, and each of them mirrored."""


def oriented(images: Images, which: int) -> Images:
    """Patches of shape (n, 50, 50), all turned `which % 4` times by a right angle, and mirrored from 4 on."""
    turned = np.rot90(images, which % 4, axes=(1, 2))
    return turned[:, :, ::-1] if which >= 4 else turned


def all_orientations(images: Images) -> Images:
    """Every orientation of each patch, a patch's eight side by side: shape (8 n, 50, 50)."""
    return np.stack([oriented(images, which) for which in range(ORIENTATIONS)], axis=1).reshape(-1, *images.shape[1:])


def any_orientation(images: Images, draw: np.random.Generator) -> Images:
    """Each patch in an orientation that is drawn for it."""
    drawn = draw.integers(0, ORIENTATIONS, len(images))
    turned = np.empty_like(images)
    for which in range(ORIENTATIONS):
        turned[drawn == which] = oriented(images[drawn == which], which)
    return turned


def as_input(images: Images) -> NDArray[np.float32]:
    """Grey levels as numbers from 0 to 1, shape (n, 50, 50, 1)."""
    scaled: NDArray[np.float32] = images.astype(np.float32)[..., np.newaxis] / np.float32(255)
    return scaled
