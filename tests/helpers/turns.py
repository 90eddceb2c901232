"""Turns of tests in processes of their own: what one site can do once at a time, such as trying it with `primage check`."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(name: str) -> Iterator[None]:
    """Wait for one's turn, and have it for as long as the block takes; a process that ends gives it up."""
    with (Path(tempfile.gettempdir()) / f"primage-tests-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
