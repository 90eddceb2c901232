"""`primage audit`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer

from primage.cli.output import console, line

if TYPE_CHECKING:
    from rich.table import Table

    from primage.contract.audit import Line, Verb

SHOWN = 500
"""Rows of a table, which is known only as a whole."""
WIDE = 2000
"""Columns where there is no terminal."""


def audit(
    site: Annotated[str, typer.Argument(metavar="SITE", help="The site.")],
    vo: Annotated[str, typer.Option("--vo", help="Only what is of this virtual organisation.")] = "",
    member: Annotated[str, typer.Option("--member", help="Only what this person did, or what was done to what is theirs.")] = "",
    since: Annotated[str, typer.Option("--since", help="From when on: so long ago (24h, 7d), or a time (RFC 3339).")] = "24h",
    verb: Annotated[
        list[str] | None, typer.Option("--verb", help="Only this: given, lost, launched …; more than once for more.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead of a table.")] = False,
) -> None:
    """Show who was given, lost, launched and opened what, when and why; for operators.

    Example: `primage audit local --member ada@example.org --since 7d`
    """
    from primage.contract.audit import now
    from primage.operations.audit.joined import Wanted, time_of
    from primage.operations.audit.reading import Found, read

    found = Found()
    wanted = Wanted(time_of(since, now()), vo, member, _verbs(verb or []))
    latest: deque[Line] = deque(maxlen=SHOWN)
    number = 0
    for entry in read(site, wanted, found):
        number += 1
        if json:
            print(entry.text(), flush=True)
        else:
            latest.append(entry)
    if latest:
        out = console()
        if not out.is_terminal:
            out.width = WIDE  # what reads it from a pipe wants a line for each
        out.print(_table(latest))
    if number > len(latest) and not json:
        found_more = (
            f"the latest {SHOWN} of {number} lines are shown; --since, --vo, --member and --verb ask for fewer, --json prints all"
        )
        console(stderr=True).print(found_more)
    for sentence in found.said():
        console(stderr=True).print(line(sentence))


def _verbs(given: list[str]) -> frozenset[Verb]:
    """The verbs that were asked for."""
    from primage.contract.audit import Verb

    known = {verb.value: verb for verb in Verb}
    if unknown := [word for word in given if word not in known]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(known)}", param_hint="--verb")
    return frozenset(known[word] for word in given)


def _table(lines: deque[Line]) -> Table:
    from rich.table import Column, Table

    heads = ("time", "who", "source", "verb", "what", "why")
    table = Table(*(Column(head, overflow="fold") for head in heads), box=None)
    for one in lines:
        where, what = "/".join(filter(None, (one.object.namespace, one.object.name))), one.object.kind
        who, time = one.who, f"{one.time:%Y-%m-%dT%H:%M:%SZ}"
        row = (time, who.account, who.source.value, one.verb.value, f"{what} {where}".strip(), one.why)
        table.add_row(*map(line, row))
    return table
