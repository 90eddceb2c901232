"""What stands in a folder that others are writing to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def holding(text: bytes, folder: Path) -> Iterator[Path]:
    """The files anywhere under `folder` that hold `text`; what goes while it is looked for holds nothing."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            if path.is_file() and not path.is_symlink() and holds(path, text):
                yield path


def holds(path: Path, text: bytes) -> bool:
    """Whether a file's bytes hold `text`; no, if it is gone."""
    try:
        return text in path.read_bytes()
    except FileNotFoundError:
        return False
