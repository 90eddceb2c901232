"""What is left of a stack that went from the embedded engine to Pulumi's: its state, kept aside and no longer believed."""

from __future__ import annotations

from pathlib import Path

from primage.errors import ExitCode, PrimageError
from primage.paths import state_dir
from primage.projects.project import StackName, project_of


def aside(name: StackName) -> Path:
    """The file that the state of a stack is kept in once it has gone."""
    return state_dir() / project_of(name).name / f"{name.stack}.json.moved"


def require_here(name: StackName) -> None:
    """Refuse to have the embedded engine work on a stack that Pulumi's has.

    Raises:
        PrimageError: it has gone there.
    """
    path = aside(name)
    if path.exists():
        raise PrimageError(
            f"stack {name} was moved to Pulumi's engine",
            where=str(path),
            todo="use --engine pulumi; only if Pulumi's backend has lost it, name that file back to what it was without `.moved`",
            code=ExitCode.UNSUPPORTED,
        )


def forget(name: StackName) -> None:
    """The stack is destroyed: there is nothing to go back to."""
    aside(name).unlink(missing_ok=True)
