"""What was seen already, for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable

MOST = 10_000
"""That are remembered; the oldest makes room."""


class Once:
    """Remembers names; safe to use from many threads.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float], most: int = MOST) -> None:
        self._clock, self._most = clock, most
        self._guard = threading.Lock()
        self._until: dict[str, float] = {}

    def first(self, name: str, seconds: float) -> bool:
        """Whether a name is seen for the first time in that many seconds; from now on it is not."""
        now = self._clock()
        with self._guard:
            if self._until.get(name, now) > now:
                return False
            # They are in the order in which they came, so the first are the oldest.
            while self._until and (len(self._until) >= self._most or next(iter(self._until.values())) <= now):
                del self._until[next(iter(self._until))]
            self._until.pop(name, None)
            self._until[name] = now + seconds
            return True

    def __len__(self) -> int:
        with self._guard:
            return len(self._until)
