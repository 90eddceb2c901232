"""Texts of others', as they may be shown or counted with."""

from __future__ import annotations

import re

MESSAGE_CHARACTERS = 20_000
"""Of a condition's message, which Kubernetes bounds at 32 KiB."""


def readable(text: str, most: int = MESSAGE_CHARACTERS) -> str:
    """A text as it may stand in a condition, an event or a log, whoever wrote it: what cannot be shown is replaced."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def count_of(text: object, most: int) -> int | None:
    """A whole number in ASCII digits, not above `most`; None for anything else."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > most:
        return None
    return int(text)
