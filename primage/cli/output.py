"""What people and machines read: tables and progress on a terminal, one JSON document with `--json`."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from primage.engine.api import Action, Change, Event, Listener, Result

if TYPE_CHECKING:
    from rich.console import Console

    from primage.errors import PrimageError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

MOST_FIELDS = 5
"""Named on the line of something that is replaced."""
_NAMES = re.compile(r'\["[^"]*"\]|\[\d+\]|\.?[^.\[\]]+')
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


_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Unicode's categories of what a terminal obeys or does not show: control and format characters, halves, foreign line ends."""


def plain(text: str) -> str:
    """The text as a terminal may have it, over as many lines as it has: what it would obey is spelled out (`\\x1b`).

    Names, labels, messages, arguments and logs may be anybody's, and everything that is printed goes through here.
    """
    return "".join(_shown(letter) for letter in text.replace("\r\n", "\n").replace("\r", "\n"))


def line(text: str) -> str:
    """The same on one line: nobody's text looks like a line of ours."""
    return plain("".join(_spelled(letter) if letter in "\r\n" else letter for letter in text))


def _shown(letter: str) -> str:
    seen = letter in "\t\n" or unicodedata.category(letter) not in _UNSEEN
    return letter if seen else _spelled(letter)


def _spelled(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def console(*, stderr: bool = False) -> Console:
    """A console that leaves text alone off a terminal, prints nothing that a terminal would obey, and ignores markup.

    What is coloured is a `Text`: in a string, `[red]` may be anybody's word.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Plain(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                style = segment.style.update_link(None) if segment.style and segment.style.link else segment.style
                yield segment if segment.control else Segment(plain(segment.text), style)

    return Plain(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


def count(number: int, noun: str) -> str:
    """`no files`, `1 file`, `2 files`."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2, default=str), flush=True)


def report_error(error: PrimageError, *, as_json: bool) -> None:
    """One paragraph on standard error, or an object with key `error` on standard output."""
    if as_json:
        print_json({"error": error.as_dict()})
    else:
        print(f"Error: {plain(str(error))}", file=sys.stderr)


_DONE = {"create": "created", "update": "updated", "replace": "replaced", "delete": "deleted", "keep": "kept"}


def print_result(result: Result, *, done: str, preview: bool = False) -> None:
    """The changes, field by field, and a summary line: of what would happen in a preview, else of what has."""
    from rich.text import Text

    # With pydantic, which `primage --help` does without.
    from primage.engine.protection import IF_MEANT, goes_with

    out = console()
    for change in result.changes:
        if change.action is Action.SAME:
            continue
        mark, style = _MARKS[change.action]
        why = "; ".join(line(text) for text in (change.reason, goes_with(change)) if text)
        said = _why_replaced(change) if change.action is Action.REPLACE else f"  ({why})" if why else ""
        out.print(Text.assemble((f"{mark} {line(change.label)}", style), said))
        if change.refused:
            out.print(f"    `up` will refuse all of this: it {line(change.refused)}", style="red")
        for item in change.fields if change.action is not Action.REPLACE else ():
            out.print(f"    {line(item.path)}: {_short(item.before)} → {_short(item.after)}")
    counts = result.counts()
    same = counts.pop(Action.SAME.value, 0)
    told = [f"{number} to {name}" if preview else f"{number} {_DONE[name]}" for name, number in counts.items()]
    what = ", ".join(told) or ("nothing to change" if preview else "nothing changed")
    out.print(f"{done} {result.stack}: {what}, {same} the same ({result.seconds:.1f} s)")
    if refused := result.refused():
        out.print(f"`up` will refuse and change nothing, because of {len(refused)} of these changes; see above")
        if any(change.protected for change in refused):
            out.print(f"Next: undo them; or, {IF_MEANT}")


def _why_replaced(change: Change) -> str:
    """On the line itself, the fields that changed; or why else it is replaced."""
    fields = list(dict.fromkeys(_brief(item.path) for item in change.fields))
    more = f" and {len(fields) - MOST_FIELDS} more" if len(fields) > MOST_FIELDS else ""
    why = f"{', '.join(fields[:MOST_FIELDS])}{more} changed" if fields else change.reason
    return f"  replace: {line(why)}" if why else "  replace"


def _brief(path: str) -> str:
    """`spec.template…args` of `spec.template.spec.containers[0].args[2]`: where it is, and what one calls it."""
    names = _NAMES.findall(path)
    while names and names[-1].startswith("[") and names[-1][1:-1].isdigit():
        names.pop()
    inner = next((place for place, name in enumerate(names) if name[1:-1].isdigit()), len(names) - 3)
    if len(names) <= 4 or inner < 2:
        return "".join(names)
    return f"{''.join(names[:2])}…{''.join(names[inner + 1 :]).removeprefix('.')}"


def _short(value: Any) -> str:
    text = "(none)" if value is None else json.dumps(value, default=str) if not isinstance(value, str) else value
    return line(text if len(text) <= 100 else text[:97] + "…")


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
            said = line(event.state + (f": {event.detail}" if event.detail else ""))
            with lock:
                now = time.monotonic()
                # Two reasons may take turns for as long as an object waits.
                if now - told.get((event.label, said), -REPEAT_S) >= REPEAT_S:
                    told[event.label, said] = now
                    out.print(f"{time.monotonic() - started:6.1f} s  {line(event.label)}  {said}")

        yield tell
        return
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[detail]}", style="dim", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=out, transient=True) as bar:
        tasks: dict[str, TaskID] = {}
        guard = threading.Lock()

        def show(event: Event) -> None:
            with guard:
                if event.label not in tasks:
                    tasks[event.label] = bar.add_task(line(event.label), total=1, detail="")
                ended = event.state in {"ready", "deleted", "failed"}
                detail = line(event.state + (f": {event.detail}" if event.detail else ""))
                bar.update(tasks[event.label], detail=detail[:110], completed=1 if ended else 0, visible=not ended)

        yield show
