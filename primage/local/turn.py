"""One process at a time makes what several want to have in the cache."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(target: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Wait until no other process makes `target`, then hold that right: a second process finds it made.

    The system releases it when the process ends.

    Args:
        target: the file or folder to be made; look again, inside, whether it is there.
        waiting: called when another process has the turn.
    """
    path = target.with_name(f"{target.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
