"""`primage validate`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from primage.cli.output import Json, console, print_json
from primage.errors import ExitCode
from primage.paths import repository_root


def validate(
    sites: Annotated[list[str] | None, typer.Argument(help="Sites to check; all of them when none is given.")] = None,
    json: Json = False,
) -> None:
    """Check stack files offline: schema, unknown keys, placeholders, references; all problems in one pass.

    Example: `primage validate local`
    """
    from primage.projects.validation import validate_repository

    started = time.monotonic()
    checked, problems = validate_repository(repository_root(), sites or ())
    seconds = time.monotonic() - started
    if json:
        print_json({"checked": checked, "problems": [p.as_dict() for p in problems], "seconds": round(seconds, 3)})
    else:
        out = console()
        for problem in problems:
            out.print(str(problem))
        out.print(f"{_count(len(problems), 'problem')} in {_count(len(checked), 'stack file')} ({seconds:.2f} s)")
    if problems:
        raise typer.Exit(int(ExitCode.INVALID))


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
