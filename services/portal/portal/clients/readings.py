"""What takes long to find out: by threads beside the pages, each for one person, and kept for a while for them alone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from portal.domain.errors import RefusedError
from primage.clients.cluster import Refused
from primage.errors import PrimageError

AT_ONCE, AT_ONCE_OF_ONE = 4, 2
"""Threads of everybody, and of one person."""
MOST_KEPT, KEPT_S = 50, 600.0
MOST_SAID = 1000
"""Characters of a problem: a pod may have written it."""
log = logging.getLogger("portal.readings")


@dataclass
class Reading:
    """One.

    Attributes:
        owner: the account of whoever wants to know.
        begun: seconds of a clock that only grows.
        found: what was found; until then, what the one before has found.
        problem: why nothing was found, as a sentence without its end.
    """

    owner: str
    begun: float
    found: Any = None
    problem: str = ""
    ended: threading.Event = field(default_factory=threading.Event, repr=False)


class Readings:
    """All of them; safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._known: dict[tuple[str, str], Reading] = {}

    def of(self, owner: str, what: str) -> Reading | None:
        """The last of a person's of something."""
        with self._guard:
            self._forget()
            return self._known.get((owner, what))

    def age_s(self, reading: Reading) -> float:
        """How long ago it was begun."""
        return self._clock() - reading.begun

    def begin(self, owner: str, what: str, ask: Callable[[], Any]) -> Reading:
        """Find out; where that is under way, go on with it.

        Args:
            ask: ends by itself in time, and raises as operations do.

        Raises:
            RefusedError: too much is being found out.
        """
        with self._guard:
            self._forget()
            before = self._known.get((owner, what))
            if before and not before.ended.is_set():
                return before
            running = [one for one in self._known.values() if not one.ended.is_set()]
            if len(running) >= AT_ONCE or sum(one.owner == owner for one in running) >= AT_ONCE_OF_ONE:
                raise RefusedError(429, "too much is being asked for at once: load the page again in a moment")
            reading = Reading(owner, self._clock(), before.found if before else None)
            self._known.pop((owner, what), None)
            self._known[owner, what] = reading
        threading.Thread(target=_follow, args=(reading, ask), daemon=True).start()
        return reading

    def _forget(self) -> None:
        """What is old, and the oldest of many; they are in the order in which they were begun."""
        now = self._clock()
        ended = [key for key, one in self._known.items() if one.ended.is_set()]
        over = max(0, len(self._known) - MOST_KEPT)
        for number, key in enumerate(ended):
            if number < over or now - self._known[key].begun > KEPT_S:
                del self._known[key]


def _follow(reading: Reading, ask: Callable[[], Any]) -> None:
    try:
        reading.found = ask()
    except Refused as refusal:
        reading.problem = f"Kubernetes refused this: {refusal.message}"[:MOST_SAID]
    except PrimageError as error:
        reading.problem = error.what[:MOST_SAID]
    except Exception:
        log.exception("something could not be found out")
        reading.problem = "the portal has failed to find out"
    finally:
        reading.ended.set()
