"""When to look next."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """When to look next: often while something is about to change, seldom while nothing is.

    Attributes:
        floor_s: shortest pause.
        pause_s: the current one.
    """

    floor_s: float
    pause_s: float = 0.0
    GROWTH = 1.3

    def next(self, *, changed: bool, ceiling_s: float) -> float:
        """The pause before the next look, seconds."""
        self.pause_s = self.floor_s if changed else max(self.floor_s, self.pause_s * self.GROWTH)
        self.pause_s = max(self.floor_s, min(self.pause_s, ceiling_s))
        return self.pause_s
