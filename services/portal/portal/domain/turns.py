"""How much is done at a time: what one person asks for keeps nobody else waiting for long, and fills nobody's memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from portal.domain.errors import RefusedError

AT_ONCE, AT_ONCE_OF_ONE = 8, 2
"""Requests for which the API server is asked: of everybody, and of one person. Each may take some tens of megabytes."""
WAITING_OF_ONE, PATIENCE_S = 4, 10.0
"""How many more of a person's wait, and for how long."""


class Turns:
    """Those that are being answered; safe to use from many threads."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._running: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def one(self, owner: str) -> Iterator[None]:
        """A turn of somebody's, once there is one.

        Raises:
            RefusedError: they, or all others together, have too many.
        """
        with self._changed:
            if self._waiting[owner] >= WAITING_OF_ONE or not self._wait(owner):
                raise RefusedError(429, "too much is being asked for at once: load the page again in a moment")
            self._running[owner] += 1
        try:
            yield
        finally:
            with self._changed:
                _less(self._running, owner)
                self._changed.notify_all()

    def _wait(self, owner: str) -> bool:
        self._waiting[owner] += 1
        try:
            return self._changed.wait_for(lambda: self._free(owner), self._patience_s)
        finally:
            _less(self._waiting, owner)

    def _free(self, owner: str) -> bool:
        return self._running[owner] < AT_ONCE_OF_ONE and self._running.total() < AT_ONCE


def _less(counted: Counter[str], owner: str) -> None:
    """One less; who has none is not remembered."""
    counted[owner] -= 1
    if not counted[owner]:
        del counted[owner]
