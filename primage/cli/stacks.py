"""`primage preview`, `up`, `destroy`, `render`, `outputs`, `status`: one stack at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from primage.cli.output import Json, console, count, line, print_json, print_result, progress
from primage.engine.api import Listener, Options, silent
from primage.engine.choose import EngineKind, choose_engine
from primage.projects.overrides import parse_override
from primage.projects.project import parse_stack_name

Stack = Annotated[str, typer.Argument(metavar="STACK", help="A site (local) or an app's stack (batch/vo.primage.eu.local).")]
EngineOption = Annotated[EngineKind, typer.Option("--engine", help="auto: the Pulumi CLI if it is installed, or else embedded.")]
ConfigOption = Annotated[
    list[str] | None,
    typer.Option(
        "--config", "-c", metavar="PATH=VALUE", help="A setting for this command alone, in place of the file's: job.cpu=1."
    ),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait for one object to become ready; a job has until its own deadline.")
]


def _options(config: list[str] | None, timeout: float, listener: Listener = silent) -> Options:
    return Options(overrides=dict(parse_override(text) for text in config or []), listener=listener, timeout_s=timeout)


def preview(
    stack: Stack,
    engine: EngineOption = EngineKind.AUTO,
    config: ConfigOption = None,
    timeout: TimeoutOption = 600,
    json: Json = False,
) -> None:
    """Show what `up` would change, field by field, and change nothing.

    Example: `primage preview local`
    """
    with progress(quiet=json) as listener:
        result = choose_engine(engine).preview(parse_stack_name(stack), _options(config, timeout, listener))
    print_json(result.as_dict()) if json else print_result(result, done="Preview of", preview=True)


def up(
    stack: Stack,
    engine: EngineOption = EngineKind.AUTO,
    config: ConfigOption = None,
    timeout: TimeoutOption = 600,
    json: Json = False,
) -> None:
    """Deploy the stack and wait until it is ready; a job's stack is ready when the job has succeeded.

    Example: `primage up batch/vo.primage.eu.local--trial --config job.args='["id"]'`
    """
    with progress(quiet=json) as listener:
        options = _options(config, timeout, listener)
        result = choose_engine(engine).up(parse_stack_name(stack), options)
    print_json(result.as_dict()) if json else print_result(result, done="Up")
    if options.overrides:
        paths = line(", ".join(options.overrides))
        console(stderr=True).print(f"Not kept: {paths}. Give it again next time, or write it into the stack's file.")


def destroy(stack: Stack, engine: EngineOption = EngineKind.AUTO, timeout: TimeoutOption = 600, json: Json = False) -> None:
    """Remove all of the stack's objects, dependants first; data on volumes stays.

    Example: `primage destroy batch/vo.primage.eu.local`
    """
    with progress(quiet=json) as listener:
        result = choose_engine(engine).destroy(parse_stack_name(stack), Options(listener=listener, timeout_s=timeout))
    print_json(result.as_dict()) if json else print_result(result, done="Destroyed")


def render(
    stack: Stack,
    out: Annotated[Path, typer.Option("--out", help="Folder for the manifests, one file per object.")],
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Write the stack's Kubernetes manifests, offline; secrets are masked. A site's come with what is made of its tenants.

    Example: `primage render local --out /tmp/local`
    """
    import yaml

    from primage.clients.cluster import Ref
    from primage.contract.custom_resources import made_of
    from primage.engine.embedded.engine import EmbeddedEngine

    declared = EmbeddedEngine().render(parse_stack_name(stack), _options(config, 600))
    objects = [*declared, *made_of(declared)]
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for obj in objects:
        ref = Ref.of(obj)
        path = out / "-".join(part for part in (ref.namespace, ref.kind.lower(), f"{ref.name}.yaml") if part)
        path.write_text(yaml.safe_dump(obj, sort_keys=True))
        written.append(str(path))
    print_json({"files": written}) if json else console().print(f"Wrote {count(len(written), 'manifest')} to {out}")


def outputs(
    stack: Stack,
    offline: Annotated[bool, typer.Option("--offline", help="Work them out from the program, without a cluster.")] = False,
    engine: EngineOption = EngineKind.AUTO,
    json: Json = False,
) -> None:
    """Print the stack's outputs; secrets are masked.

    Example: `primage outputs local --json`
    """
    name = parse_stack_name(stack)
    if offline:
        from primage.engine.embedded.engine import EmbeddedEngine

        found = EmbeddedEngine().offline_outputs(name, Options())
    else:
        found = choose_engine(engine).outputs(name)
    if json:
        print_json(found)
    elif not found and not offline:
        console(stderr=True).print(f"{name} has no outputs on this machine. Run `primage up {name}` to have them.")
    else:
        import yaml

        console().print(yaml.safe_dump(found, sort_keys=True).rstrip())


def status(stack: Stack, json: Json = False) -> None:
    """List the stack's objects, found by their labels on the cluster, and the state of each.

    Example: `primage status local`
    """
    from rich.table import Column, Table

    from primage.operations.stack import stack_handle
    from primage.operations.status import status_of

    rows = status_of(stack_handle(parse_stack_name(stack)))
    if json:
        print_json({"stack": stack, "objects": [row.as_dict() for row in rows]})
        return
    table = Table(Column("object", overflow="fold"), Column("state", overflow="fold"), Column("detail", overflow="fold"), box=None)
    for row in rows:
        table.add_row(line(row.object), row.state, line(row.detail))
    console().print(table if rows else f"{stack} has no objects on the cluster: it is not up")
