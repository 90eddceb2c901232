"""`primage move STACK --to pulumi`: hand a standing stack to Pulumi's own engine."""

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
    to: Annotated[Target, typer.Option("--to", help="The engine that takes it over.")],
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Hand a standing stack of the embedded engine to Pulumi's own; no object is touched, and a preview must change nothing.

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
        f"Moved {done.stack} to Pulumi's engine: {done.resources} resources, {done.objects} of them objects of the cluster; "
        f"a preview changes nothing. What the embedded engine knew is kept in {done.kept}",
        markup=False,
    )
