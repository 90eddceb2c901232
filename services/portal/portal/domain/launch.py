"""What a launching process is told, and what it says in the end."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Work(BaseModel):
    """What is to be done.

    Attributes:
        stack: its whole name.
        setting: the application's one setting.
        settings: its value; None to take the stack away.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stack: str
    setting: str = ""
    settings: dict[str, Any] | None = None


class Ended(BaseModel):
    """How it went.

    Attributes:
        what: what is wrong, as a sentence.
        todo: what to do next.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: bool
    what: str = ""
    todo: str = ""
