"""Python libraries for an image, from a requirements file locked by hash, unpacked once into the cache."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from primage.local.turn import turn
from primage.paths import cache_dir
from primage.process import run_logged

TIMEOUT_S = 20 * 60
CUT = "1"
"""Changes when the choice of what to leave out of a requirements file changes, so that the layer is built again."""
STRIPPED_BYTES = 100 * 2**20
"""Libraries above that size lose the names of their inner functions: of jaxlib's 350 MB they are 110."""


def wheels_dir() -> Path:
    """The cache folder with a folder for each locked set of libraries, named after what it holds."""
    return cache_dir() / "wheels"


def unpack_wheels(requirements: Path, log: Path) -> Path:
    """A folder for PYTHONPATH with what `requirements` pins, for the Python that runs this (3.11, as the base's).

    Tests that libraries ship are left out: they are a fifth of the size.
    """
    key = hashlib.sha256(requirements.read_bytes() + CUT.encode()).hexdigest()[:12]
    target = wheels_dir() / f"{requirements.parent.name}-{key}"
    if not target.is_dir():
        with turn(target):
            if not target.is_dir():
                _unpack(requirements, target, log)
    return target


def _unpack(requirements: Path, target: Path, log: Path) -> None:
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    run_logged(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action", "ignore"),
            *("--no-compile", "--only-binary", ":all:", "--require-hashes", "--target", str(part), "-r", str(requirements)),
        ],
        log=log,
        timeout_s=TIMEOUT_S,
    )
    for folder in sorted(part.rglob("tests"), reverse=True):
        # numpy's and scipy's testing helpers are imported at run time; only folders of test modules go.
        if folder.is_dir() and (any(folder.glob("test_*.py")) or not any(folder.iterdir())):
            shutil.rmtree(folder)
    if shutil.which("strip"):
        for library in part.rglob("*.so"):
            if library.stat().st_size > STRIPPED_BYTES:
                run_logged(["strip", "--strip-unneeded", str(library)], log=log, timeout_s=TIMEOUT_S)
    part.rename(target)
