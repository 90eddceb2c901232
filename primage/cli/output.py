"""What people and machines read: tables and progress on a terminal, one JSON document with `--json`."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from primage.engine.changes import Action, Event, Listener, Result

if TYPE_CHECKING:
    from rich.console import Console

    from primage.errors import PrimageError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

REPEAT_S = 60
"""How long a line that has been printed is not printed again."""
_MARKS = {
    Action.CREATE: ("+", "green"),
    Action.UPDATE: ("~", "yellow"),
    Action.REPLACE: ("±", "magenta"),
    Action.DELETE: ("-", "red"),
    Action.KEEP: ("=", "dim"),
    Action.SAME: (" ", "dim"),
}


def console(*, stderr: bool = False) -> Console:
    """A console that leaves text alone where it is no terminal."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2, default=str))


def report_error(error: PrimageError, *, as_json: bool) -> None:
    """One paragraph on standard error, or an object with key `error` on standard output."""
    if as_json:
        print_json({"error": error.as_dict()})
    else:
        print(f"Error: {error}", file=sys.stderr)


def print_result(result: Result, *, done: str) -> None:
    """The changes, field by field, and a summary line."""
    from rich.markup import escape

    out = console()
    for change in result.changes:
        if change.action is Action.SAME:
            continue
        mark, style = _MARKS[change.action]
        out.print(f"[{style}]{mark} {escape(change.label)}[/]" + (f"  ({escape(change.reason)})" if change.reason else ""))
        for item in change.fields:
            out.print(f"    {escape(item.path)}: {escape(_short(item.before))} → {escape(_short(item.after))}")
    counts = result.counts()
    same = counts.pop(Action.SAME.value, 0)
    what = ", ".join(f"{number} to {name}" for name, number in counts.items()) or "nothing to change"
    out.print(f"{done} {result.stack}: {what}, {same} the same ({result.seconds:.1f} s)")


def _short(value: Any) -> str:
    text = "(none)" if value is None else json.dumps(value, default=str) if not isinstance(value, str) else value
    return text if len(text) <= 100 else text[:97] + "…"


@contextmanager
def progress(*, quiet: bool) -> Iterator[Listener]:
    """A listener that shows each resource while it is worked on; a line per event where there is no terminal."""
    if quiet:
        yield lambda _: None
        return
    out = console(stderr=True)
    if not out.is_terminal:
        told: dict[tuple[str, str], float] = {}
        lock = threading.Lock()
        started = time.monotonic()

        def tell(event: Event) -> None:
            line = f"{event.state}" + (f": {event.detail}" if event.detail else "")
            with lock:
                now = time.monotonic()
                # Two reasons may take turns for as long as an object waits.
                if now - told.get((event.label, line), -REPEAT_S) >= REPEAT_S:
                    told[event.label, line] = now
                    out.print(f"{time.monotonic() - started:6.1f} s  {event.label}  {line}", markup=False)

        yield tell
        return
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("[dim]{task.fields[detail]}"), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        tasks: dict[str, TaskID] = {}
        guard = threading.Lock()

        def show(event: Event) -> None:
            with guard:
                if event.label not in tasks:
                    tasks[event.label] = bar.add_task(event.label, total=1, detail="")
                ended = event.state in {"ready", "deleted", "failed"}
                detail = event.state + (f": {event.detail}" if event.detail else "")
                bar.update(tasks[event.label], detail=detail[:110], completed=1 if ended else 0, visible=not ended)

        yield show
