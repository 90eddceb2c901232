"""What went wrong in one run of a program."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from primage.errors import PrimageError


@dataclass
class Failures:
    """Every failure, from many threads: what is under way goes on after one, and nothing else is started."""

    _errors: list[PrimageError] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def note(self, error: PrimageError) -> None:
        """One more."""
        with self._guard:
            self._errors.append(error)

    def __bool__(self) -> bool:
        """Whether there is any."""
        with self._guard:
            return bool(self._errors)

    def together(self) -> PrimageError:
        """One error that says all of them."""
        first, *others = {str(error): error for error in self._errors}.values()
        return PrimageError("\n".join(map(str, (first, *others))), code=first.code) if others else first
