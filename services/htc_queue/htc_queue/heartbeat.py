"""The lease of what a consumer has in hand: kept while Redis can be told, and ended before another consumer may have it."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from htc_queue.clients import RedisError, say
from htc_queue.domain import Lease

UNREACHABLE = 4
STDERR = 2
BEATS = 3
"""A sign is given this often in the time after which an argument is another consumer's."""
MARGIN = 1 / 6
"""Of that time: what is left for ending the work when no sign could be given."""

Keep = Callable[[list[Lease]], list[str]]
"""Gives the sign; returns the ids that are another consumer's by now."""


@dataclass
class Hold:
    """Arguments in hand.

    Attributes:
        until: when another consumer may have them, by this machine's clock.
        lost: why they had to be given up; empty as long as they are ours.
    """

    leases: list[Lease]
    until: float
    lost: str = ""


class Heartbeat:
    """Two loops beside the work: one speaks to Redis, the other only looks at the clock and so cannot be held up.

    Args:
        keep: gives a sign; one that cannot be given raises RedisError or OSError, and soon.
        visibility_s: after this long without a sign, an argument is another consumer's.
        give_up: ends the work that goes on; None where it is done in this process, which is then ended.
    """

    def __init__(self, keep: Keep, visibility_s: float, give_up: Callable[[], None] | None) -> None:
        self._keep, self._visibility_s = keep, visibility_s
        self._give_up = give_up or _end_process
        self._here = give_up is None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._hold: Hold | None = None

    @contextmanager
    def beating(self) -> Iterator[None]:
        """While a consumer is at work."""
        self._watch_this_process()
        threads = [threading.Thread(target=_or_end, args=(loop,), daemon=True) for loop in (self._beat, self._guard)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(timeout=1)
            faulthandler.cancel_dump_traceback_later()

    @contextmanager
    def holding(self, leases: list[Lease], since: float) -> Iterator[Hold]:
        """While arguments are dealt with that were handed out no earlier than `since`."""
        hold = Hold(leases, since + self._visibility_s)
        with self._lock:
            self._hold = hold
        try:
            yield hold
        finally:
            with self._lock:
                self._hold = None

    def _beat(self) -> None:
        every = self._visibility_s / BEATS
        pause, said = every, False
        while not self._over.wait(pause):
            hold, asked = self._hold, time.monotonic()
            pause = every
            if hold is None:
                continue
            try:
                taken = self._keep(hold.leases)
            except (RedisError, OSError) as error:
                pause = every / 8
                if not said:
                    say(f"the queue cannot be told that the work goes on ({error}); trying again")
                said = True
                continue
            said = False
            if taken:
                self._lose(hold, "another consumer has it by now")
            hold.until = asked + self._visibility_s

    def _guard(self) -> None:
        while not self._over.wait(self._visibility_s / 24):
            self._watch_this_process()
            hold = self._hold
            if hold and (hold.lost or time.monotonic() > hold.until - self._visibility_s * MARGIN):
                self._lose(hold, hold.lost or "the queue could not be told in time that the work goes on")

    def _watch_this_process(self) -> None:
        """End it unless this is called again in time: a function that lets no other thread run is noticed by no loop."""
        if self._here:
            faulthandler.dump_traceback_later(self._visibility_s / 2, exit=True, file=STDERR)

    def _lose(self, hold: Hold, why: str) -> None:
        """Again and again until it is let go: what is to be ended may not have begun the first time."""
        with self._lock:
            if self._hold is hold:
                if not hold.lost:
                    say(f"argument {hold.leases[0].key} is given up: {why}")
                hold.lost = why
                self._give_up()


def _or_end(loop: Callable[[], None]) -> None:
    """A loop that dies ends its process: nobody would notice otherwise, and work would be done twice."""
    try:
        loop()
    except BaseException:  # noqa: BLE001  # whatever it is
        traceback.print_exc()
        os._exit(1)


def _end_process() -> None:
    os._exit(UNREACHABLE)
