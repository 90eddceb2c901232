"""A queue's tasks, as `primage queue status` has them, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
LONGEST_S = 1000 * DAY_S


@dataclass(frozen=True)
class Tasks:
    """How many there are of each kind.

    Attributes:
        left: how long the rest will take, as a sentence without its end.
    """

    pushed: int
    waiting: int
    running: int
    done: int
    dead: int
    left: str

    @property
    def ended(self) -> int:
        """Those that nothing more is done about."""
        return self.done + self.dead


def tasks_of(standing: Mapping[str, Any]) -> Tasks:
    """Of what an operation says of a queue."""
    amounts = {name: int(standing[name]) for name in ("pushed", "waiting", "running", "done", "dead")}
    return Tasks(**amounts, left=_left(standing))


def _left(standing: Mapping[str, Any]) -> str:
    if standing["finished"]:
        return "Everything has ended"
    rate, seconds = standing["rate"], standing["eta_s"]
    if not seconds and seconds is not None:
        return "Nothing is left of what was pushed so far; more may come"
    if seconds is None:
        return "How long the rest takes cannot be told: no task has ended well in the last minute"
    return f"About {in_words(seconds)} left, at {rate:g} tasks a second"


def in_words(seconds: float) -> str:
    """A time that is only roughly known."""
    for unit, name in ((DAY_S, "days"), (HOUR_S, "hours"), (MINUTE_S, "minutes")):
        if seconds >= 2 * unit:
            return f"{min(seconds, LONGEST_S) / unit:.0f} {name}"
    return f"{max(1, round(seconds))} s"
