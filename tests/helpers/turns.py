"""What tests in processes of their own tell each other: whose turn it is, and that the site stands."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from primage.local import turn as local


@contextmanager
def turn(name: str) -> Iterator[None]:
    """Wait for one's turn at what the site can do once at a time, and have it for as long as the block takes.

    A process that ends gives it up.
    """
    with local.turn(Path(tempfile.gettempdir()) / f"primage-tests-{name}"):
        yield


def stands(run: str) -> Path:
    """The file that says, once it is there, that this run of the tests has brought the site up."""
    return Path(tempfile.gettempdir()) / f"primage-tests-{os.environ.get('PRIMAGE_TEST_RUN', run)}"
