"""`primage why`."""

from __future__ import annotations

from typing import Annotated

import typer

from primage.cli.output import Json, console, line, print_json


def why(
    thing: Annotated[
        str, typer.Argument(metavar="PENDING_THING", help="A stack, or a kind and address such as pod/NAMESPACE/NAME.")
    ],
    json: Json = False,
) -> None:
    """Explain in plain words why a stack's objects, a job or a pod are waiting or have failed.

    Example: `primage why batch/vo.primage.eu.local` or `primage why job/vo-dot-primage-dot-eu/hello`
    """
    from primage.operations.why import explain

    answers = explain(thing)
    if json:
        print_json({"thing": thing, "answers": [answer.as_dict() for answer in answers]})
        return
    for answer in answers:
        console().print(line(f"{answer.object}: {answer.state}" + (f": {answer.reason}" if answer.reason else "")))
        for written in answer.lines:
            console().print(f"    {line(written)}")
        if answer.todo:
            console().print(f"  Next: {line(answer.todo)}")
