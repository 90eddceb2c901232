"""Why a job does not go on, or cannot be written about."""

from __future__ import annotations


class RefusedError(Exception):
    """A job that can never run; ends it with a reason.

    Args:
        reason: a CamelCase word for the Job's condition.
        message: a sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnavailableError(Exception):
    """Something that may pass: no route, login refused, no space, Slurm away. The job waits and says so."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RejectedError(Exception):
    """The API server answered, and did not do what it was asked.

    Attributes:
        code: its HTTP status.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def not_found(self) -> bool:
        """There is no such object."""
        return self.code == 404
