"""What is written down: one line for each thing that is said, and one for each read and write of somebody's data.

An audit line is JSON, so that no name in it can look like another line. It has who, where and what, by pseudonym, and no answer.
"""

from __future__ import annotations

import json
import logging
from typing import Any

FORMAT = "%(levelname)s %(name)s %(message)s"
log = logging.getLogger("datasets")
_audit = logging.getLogger("audit")


class OneLine(logging.Formatter):
    """Spells out what is no letter: errors tell of names that people have written, and none may look like a line."""

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


def audit(**said: Any) -> None:
    """One line of who did what."""
    _audit.info("%s", json.dumps(said, ensure_ascii=True, sort_keys=True))
