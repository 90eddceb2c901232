"""`primage queue status|dead|retry` and `primage scale`: high-throughput applications while they run."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from primage.cli.output import Json, console, count, line, print_json
from primage.projects.project import parse_stack_name

app = typer.Typer(no_args_is_help=True, help="The queue of a high-throughput application.")
Stack = Annotated[str, typer.Argument(metavar="STACK", help="A stack with a queue (htc/vo.primage.eu.local).")]
LOOK_EVERY_S = 1.0


@app.command("status")
def status(
    stack: Stack,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep printing until the queue is finished.")] = False,
    json: Json = False,
) -> None:
    """Show a queue's progress: waiting, running, done, dead, rate, time left.

    Example: `primage queue status htc/vo.primage.eu.local --watch`
    """
    from primage.operations.queues import StackQueue

    queue = StackQueue(parse_stack_name(stack))
    standing = queue.standing()
    if json:
        print_json(standing)
    elif watch and console().is_terminal:
        _watch(queue, standing)
    else:
        console().print(_line(standing))
        while watch and not standing["finished"]:
            time.sleep(LOOK_EVERY_S)
            standing = queue.standing()
            console().print(_line(standing))


def _line(standing: dict[str, Any]) -> str:
    left = "" if standing["eta_s"] is None or standing["finished"] else f", about {standing['eta_s']:.0f} s left"
    state = "finished" if standing["finished"] else "closed" if standing["closed"] else "open"
    return (
        f"{standing['done']} of {standing['pushed']} done, {standing['running']} running, {standing['waiting']} waiting, "
        f"{standing['dead']} dead; {standing['rate']:g}/s with {count(standing['pods'], 'consumer')}{left} ({state})"
    )


def _watch(queue: Any, standing: dict[str, Any]) -> None:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), console=console()) as bar:
        task = bar.add_task("", total=None)
        while True:
            ended = standing["done"] + standing["dead"]
            bar.update(task, total=standing["pushed"] or None, completed=ended, description=_line(standing))
            if standing["finished"]:
                return
            time.sleep(LOOK_EVERY_S)
            standing = queue.standing()


@app.command("dead")
def dead(stack: Stack, json: Json = False) -> None:
    """Show the arguments that failed for good, with the reason and the last lines of output.

    Example: `primage queue dead htc/vo.primage.eu.local`
    """
    from primage.operations.queues import StackQueue

    letters = StackQueue(parse_stack_name(stack)).letters()
    if json:
        print_json(letters)
        return
    screen = console()
    for letter in letters:
        tries = "1 try" if letter["tries"] == 1 else f"{letter['tries']} tries"
        screen.print(f"{line(letter['argument'][:200])}: {line(letter['error'][:500])}, after {tries}")
        for written in letter["tail"].splitlines()[-5:]:
            screen.print(f"    {line(written)}")
    screen.print(f"{len(letters)} dead" if letters else "no argument has failed for good")


@app.command("retry")
def retry(stack: Stack, json: Json = False) -> None:
    """Push the arguments that failed for good into the queue again, with all their tries.

    Example: `primage queue retry htc/vo.primage.eu.local`
    """
    from primage.operations.queues import StackQueue

    moved = StackQueue(parse_stack_name(stack)).retry()
    if json:
        print_json({"pushed": moved})
    else:
        console().print(f"{moved} pushed again" + (f"; run `primage up {stack}` if its consumers have ended" if moved else ""))


def scale(stack: Stack, consumers: Annotated[int, typer.Argument(min=1, max=1000)], json: Json = False) -> None:
    """Change the number of an application's consumers while it runs; the next `up` restores the number in its file.

    Example: `primage scale htc/vo.primage.eu.local 8`
    """
    from primage.operations.queues import StackQueue

    before = StackQueue(parse_stack_name(stack)).scale(consumers)
    print_json({"before": before, "after": consumers}) if json else console().print(f"{stack}: {before} → {consumers} consumers")
