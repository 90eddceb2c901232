"""Whether the connector's loops still turn, which is what being alive means; whether anything happens is another matter."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

log = logging.getLogger("hpc_connector")


class Pulse:
    """A heartbeat that goes on as long as every loop turns when it said it would.

    Args:
        touch: says that the connector is alive: touches the file that Kubernetes' probe looks at.
        beat_s: time between two beats.
        grace_s: how much later than it said a loop may turn.
    """

    def __init__(self, touch: Callable[[], None], beat_s: float, grace_s: float) -> None:
        self._touch = touch
        self._beat_s = beat_s
        self._grace_s = grace_s
        self._due: dict[str, float] = {}

    def expect(self, loop: str, within_s: float) -> None:
        """A loop says, at every turn, when the next one comes at the latest."""
        self._due[loop] = time.monotonic() + within_s + self._grace_s

    def late(self) -> list[str]:
        """The loops that have not turned when they said they would."""
        now = time.monotonic()
        return sorted(loop for loop, due in self._due.items() if due < now)

    async def beat_forever(self) -> None:
        """Beat, unless a loop is late; then Kubernetes restarts the connector."""
        while True:
            if late := self.late():
                log.error("no longer turning: %s", ", ".join(late))
            else:
                self._touch()
            await asyncio.sleep(self._beat_s)
