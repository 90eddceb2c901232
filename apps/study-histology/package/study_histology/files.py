"""Writing results so that a reader, or a second run, never sees half of one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` make a neighbour of `path`, with the same suffix, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """A JSON file, sorted, so that equal results are equal files."""
    write_whole(path, lambda part: part.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n"))


def read_json(path: Path) -> Any:
    """The document, or None if the file does not exist."""
    return json.loads(path.read_text()) if path.is_file() else None
