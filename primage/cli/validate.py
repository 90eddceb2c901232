"""`primage validate`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from primage.cli.output import Json, console, count, print_json
from primage.errors import ExitCode
from primage.paths import repository_root


def validate(
    sites: Annotated[list[str] | None, typer.Argument(help="Sites to check; all of them if none is named.")] = None,
    json: Json = False,
) -> None:
    """Check stack files offline and report all problems at once: schema, unknown keys, placeholders, references.

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
        out.print(f"{count(len(problems), 'problem')} in {count(len(checked), 'stack file')} ({seconds:.2f} s)")
    if problems:
        raise typer.Exit(int(ExitCode.INVALID))
