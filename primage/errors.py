"""Errors a person can act on: what happened, where, and what to do next.

Every failure that reaches the command line is a `PrimageError`; anything else is a defect and is reported as one.
The exit codes are part of the command line's contract (docs/reference/exit-codes.md).
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process's exit status means."""

    OK = 0
    FAILED = 1
    """The operation was tried and did not succeed."""
    USAGE = 2
    """The command line itself was wrong (Typer's and Click's own code)."""
    INVALID = 3
    """Configuration was refused before anything was touched."""
    UNREACHABLE = 4
    """A server or machine did not answer; trying again may help."""
    CHECK_FAILED = 5
    """`primage check` ran and at least one check is false."""
    UNSUPPORTED = 6
    """This machine, or this engine, cannot do what was asked."""
    DEFECT = 70
    """A bug in primage (sysexits' EX_SOFTWARE); `--debug` shows the traceback."""


class PrimageError(Exception):
    """One paragraph: what happened, where it happened, what to do next.

    Attributes:
        what: the failure in a person's words, naming the object.
        where: a file with field path, a resource, or a log file; empty where `what` says it already.
        todo: the next step for the reader, as an imperative.
        code: the exit status the command line ends with.
    """

    def __init__(self, what: str, *, where: str = "", todo: str = "", code: ExitCode = ExitCode.FAILED) -> None:
        self.what = what
        self.where = where
        self.todo = todo
        self.code = code
        super().__init__(str(self))

    def __str__(self) -> str:
        # No full stop after lines of output that are quoted at the end.
        what = self.what if self.what.endswith("\n") else self.what.rstrip(".") + ". "
        parts = []
        if self.where:
            parts.append(f"Where: {self.where.rstrip('.')}.")
        if self.todo:
            parts.append(f"Next: {self.todo.rstrip('.')}.")
        return (what + " ".join(parts)).rstrip()

    def as_dict(self) -> dict[str, str | int]:
        """The same, for `--json`: keys `what`, `where`, `next`, `exit_code`."""
        return {"what": self.what, "where": self.where, "next": self.todo, "exit_code": int(self.code)}
