"""`primage move STACK --to pulumi`: move a running stack to Pulumi's own engine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from primage.cli.output import Json, console, print_json, progress
from primage.cli.stacks import ConfigOption, Stack
from primage.engine.api import Options
from primage.engine.choose import EngineKind, choose_engine
from primage.projects.overrides import parse_override
from primage.projects.project import parse_stack_name


class Target(StrEnum):
    """The engines a stack can be moved to."""

    PULUMI = "pulumi"


def move(
    stack: Stack,
    to: Annotated[Target, typer.Option("--to", help="The engine to move it to.")],
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Move a running stack from the embedded engine to Pulumi's own. No object changes, and a preview afterwards must show none.

    Example: `primage move local --to pulumi`
    """
    from dataclasses import asdict

    from primage.engine.move import move_to_pulumi

    choose_engine(EngineKind(to))
    overrides = dict(parse_override(text) for text in config or [])
    with progress(quiet=json) as listener:
        done = move_to_pulumi(parse_stack_name(stack), Options(listener=listener, overrides=overrides))
    if json:
        print_json(asdict(done))
        return
    console().print(
        f"Moved {done.stack} to Pulumi's engine: {done.resources} resources, {done.objects} of them objects in the cluster; "
        f"a preview shows no change. The embedded engine's state is kept in {done.kept}",
        markup=False,
    )
