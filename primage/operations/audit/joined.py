"""Lines of several logs as one list in order of time, within bounded memory; no I/O."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

from primage.contract import names
from primage.contract.audit import Line, Verb
from primage.errors import ExitCode, PrimageError

WINDOW = 2000
"""How many lines of one log may be out of order: those of requests that were answered side by side are, by a few."""
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Wanted:
    """Which lines are asked for; what is empty asks for all.

    Attributes:
        vo: a VO's name.
        member: somebody's identity: of what they did, and of what was done to what is theirs.
    """

    since: datetime
    vo: str = ""
    member: str = ""
    verbs: frozenset[Verb] = frozenset()

    def has(self, line: Line) -> bool:
        """Whether a line is one of them."""
        theirs = not self.member or self.member == line.who.account or names.namespace_for(self.member) == line.object.namespace
        return (
            line.time >= self.since and theirs and self.vo in ("", line.object.vo) and (not self.verbs or line.verb in self.verbs)
        )


def time_of(text: str, now: datetime) -> datetime:
    """The time that a text says: so long ago (`24h`, `7d`), or as RFC 3339 has it.

    Raises:
        PrimageError: it says none.
    """
    try:
        if ago := re.fullmatch(r"(\d{1,5})([mhdw])", text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise ValueError("it has no time zone")
        return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PrimageError(
            f"{text!r} is no time: {error}",
            where="--since",
            todo="write how long ago (24h, 7d), or a time such as 2026-01-31T08:00:00Z",
            code=ExitCode.USAGE,
        ) from error


def joined(roads: Iterable[Iterable[Line]], vos: Mapping[str, str]) -> Iterator[Line]:
    """All lines in order of time, each with the VO that its namespace is of.

    Args:
        vos: names of the VOs, by namespace, as they are now. What a line itself says of a namespace counts for those after it.
    """
    known = dict(vos)
    for line in heapq.merge(*(_in_order(road) for road in roads), key=lambda line: line.time):
        about = line.object
        if about.vo and about.namespace:
            known[about.namespace] = about.vo
            yield line
        else:
            yield line.model_copy(update={"object": about.model_copy(update={"vo": known.get(about.namespace, "")})})


def _in_order(lines: Iterable[Line]) -> Iterator[Line]:
    waiting: list[tuple[datetime, int, Line]] = []
    number = count()
    for line in lines:
        heapq.heappush(waiting, (line.time, next(number), line))
        if len(waiting) > WINDOW:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
