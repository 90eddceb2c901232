"""`primage check`."""

from __future__ import annotations

from typing import Annotated

import typer

from primage.cli.output import Json, console, line, print_json
from primage.cli.stacks import EngineOption
from primage.engine.choose import EngineKind, choose_engine
from primage.errors import ExitCode


def check(
    site: Annotated[str, typer.Argument(metavar="SITE", help="The site.")],
    engine: EngineOption = EngineKind.AUTO,
    json: Json = False,
) -> None:
    """Try on a running site what a user would do; the exit code is 0 only if everything works.

    Example: `primage check local`
    """
    from rich.text import Text

    from primage.operations.checks import Check, run_checks

    out = console()

    def show(done: Check) -> None:
        if not json:
            mark = ("✓", "green") if done.ok else ("✗", "red")
            out.print(Text.assemble(mark, f" {line(done.name)}: ", (f"{done.detail} ({done.seconds} s)", "dim")))

    checks = run_checks(site, choose_engine(engine), show)
    ok = all(item.ok for item in checks)
    if json:
        print_json({"site": site, "ok": ok, "checks": [item.as_dict() for item in checks]})
    if not ok:
        raise typer.Exit(int(ExitCode.CHECK_FAILED))
