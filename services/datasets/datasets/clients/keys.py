"""The key of all pseudonyms: a file that a Secret is mounted as, kept apart from the records and their backups."""

from __future__ import annotations

from pathlib import Path

from datasets.domain.pseudonyms import SHORTEST_KEY

MOST_BYTES = 4096


def read_key(file: Path) -> bytes:
    """The key that a file holds, as it is.

    Raises:
        OSError: there is no such file.
        ValueError: what it holds is no key.
    """
    with file.open("rb") as opened:
        key = opened.read(MOST_BYTES + 1)
    if not SHORTEST_KEY <= len(key) <= MOST_BYTES or len(set(key)) < 16:
        raise ValueError(f"{file.name} is not a key: write {SHORTEST_KEY} to {MOST_BYTES} random bytes into the Secret")
    return key
