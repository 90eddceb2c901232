"""When to look next."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """When to look next: often while something is about to change, seldom while nothing is.

    Attributes:
        usual_s: the pause while something changes now and then.
        pause_s: the current one.
    """

    usual_s: float
    pause_s: float = 0.0
    GROWTH = 1.3
    HASTE = 4

    def hurry(self) -> None:
        """Something has just happened, and short jobs end soon: begin with a quarter of the usual pause."""
        self.pause_s = self.usual_s / self.HASTE / self.GROWTH

    def next(self, *, changed: bool, ceiling_s: float) -> float:
        """The pause before the next look, seconds."""
        longer = self.pause_s * self.GROWTH or self.usual_s
        self.pause_s = min(longer, self.usual_s if changed else max(self.usual_s, ceiling_s))
        return self.pause_s
