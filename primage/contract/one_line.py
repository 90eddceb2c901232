"""What a service's log looks like: one line for each thing that is said."""

from __future__ import annotations

import logging

FORMAT = "%(levelname)s %(name)s %(message)s"


class OneLine(logging.Formatter):
    """Spells out what is no letter: errors tell of names and settings that people have written, and none may look like a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """All of it but a traceback."""
        return "".join(map(_shown, super().formatMessage(record)))


def _shown(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")


def begin() -> None:
    """Have everything of this process logged so."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
