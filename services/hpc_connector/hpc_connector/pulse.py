"""Whether loops still turn, which is what being alive means; whether anything happens is another matter."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

log = logging.getLogger("hpc_connector")


class LateError(Exception):
    """A loop no longer turns."""


class Pulse:
    """The loops that belong together: one namespace's, or those that serve all.

    Args:
        grace_s: how much later than it said a loop may turn.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._due: dict[str, float] = {}

    def expect(self, loop: str, within_s: float) -> None:
        """A loop says, at every turn, when the next one comes at the latest."""
        self._due[loop] = time.monotonic() + within_s + self._grace_s

    def late(self, patience_s: float = 0.0) -> list[str]:
        """The loops that have not turned when they said they would, nor within `patience_s` of that."""
        now = time.monotonic()
        return sorted(loop for loop, due in self._due.items() if due + patience_s < now)

    async def until_late(self, pause_s: float) -> None:
        """Look again and again; raises LateError once a loop is late."""
        while not (late := self.late()):
            await asyncio.sleep(pause_s)
        raise LateError(f"no longer turning: {', '.join(late)}")


class Heart:
    """Beats as long as what serves all turns, and what no longer turns in one namespace is ended.

    Args:
        touch: says that the connector is alive: touches the file that Kubernetes' probe looks at.
        beat_s: time between two beats.
        patience_s: how long a namespace's late loops may take to be ended.
    """

    def __init__(self, touch: Callable[[], None], beat_s: float, patience_s: float) -> None:
        self._touch = touch
        self._beat_s = beat_s
        self._patience_s = patience_s
        self._pulses: dict[str, tuple[Pulse, float]] = {}

    def follow(self, whose: str, pulse: Pulse, *, ended_when_late: bool) -> None:
        """Beat for these loops too."""
        self._pulses[whose] = pulse, self._patience_s if ended_when_late else 0.0

    def let_go(self, whose: str, pulse: Pulse) -> None:
        """They have ended; others of the same may have begun."""
        if self._pulses.get(whose, (None, 0.0))[0] is pulse:
            del self._pulses[whose]

    async def beat_forever(self) -> None:
        """Beat, unless a loop is late for too long; then Kubernetes restarts the connector."""
        while True:
            late = [f"{loop} ({whose})" for whose, (pulse, patience) in self._pulses.items() for loop in pulse.late(patience)]
            if late:
                log.error("no longer turning: %s", ", ".join(late))
            else:
                self._touch()
            await asyncio.sleep(self._beat_s)
