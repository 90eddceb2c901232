"""Whose request goes to the API server next."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PLACE: ContextVar[int] = ContextVar("place", default=0)
_places = itertools.count(1)
_LAST = 1 << 60


@contextmanager
def in_line(*, last: bool = False) -> Iterator[None]:
    """What is asked meanwhile comes after what those ask who came before, and after what is asked outside of any line.

    Args:
        last: whether it comes after everybody else too, such as who has all of it by all that is known.

    Where hundreds of people are made at once, each request in turn would have all of them be ready when the last one is.
    """
    before = _PLACE.set(next(_places) + (_LAST if last else 0))
    try:
        yield
    finally:
        _PLACE.reset(before)


class Turns:
    """So many at a time, and of those who wait the one whose place is first.

    Args:
        at_once: how many.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (_PLACE.get(), next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given at this very moment
                self._pass_on()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
