"""`primage cp`: files in and out of HOME."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from primage.cli.output import Json, console, count, line, print_json


def cp(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file or folder here, or in HOME or DATALAKE.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The same; one of the two is on this machine.")],
    json: Json = False,
) -> None:
    """Copy files into or out of HOME, and out of DATALAKE; an interrupted copy continues where it stopped.

    A place in HOME is `<vo>.<site>:private/PATH` or `<vo>.<site>:shared/PATH`, with `<member>_` before the VO for a member's files;
    in DATALAKE it is `<vo>.<site>:datalake/PATH`.

    If TARGET is a folder, or ends with `/`, the copy goes into it under its own name; otherwise it becomes TARGET. A folder is
    copied with the files below it; links, devices and empty folders are left out.

    Example: `primage cp patients.csv vo.primage.eu.local:private/`
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from primage.errors import ExitCode, PrimageError
    from primage.operations.transfer import download, parse_address, upload

    here, there = parse_address(source), parse_address(target)
    if (here is None) == (there is None):
        raise PrimageError(
            "one of SOURCE and TARGET must be on this machine, the other in HOME or DATALAKE",
            todo="write e.g. `primage cp patients.csv vo.primage.eu.local:private/`",
            code=ExitCode.USAGE,
        )
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    screen = console(stderr=True)
    # Where nothing moves, rich would end with an empty line.
    with Progress(*columns, console=screen, transient=True, disable=json or not screen.is_interactive) as bar:
        tasks = {}

        def report(path: str, done: int, size: int) -> None:
            if path not in tasks:
                tasks[path] = bar.add_task(line(path)[-60:], total=size)
            bar.update(tasks[path], completed=done, visible=done < size)

        copied = upload(Path(source), there, report) if there else download(here, Path(target), report) if here else []
    if json:
        print_json({"files": [file.as_dict() for file in copied]})
        return
    new = [file for file in copied if not file.already]
    same = len(copied) - len(new)
    begun = sum(file.begun for file in new)
    before = f", {begun} of them by an earlier copy" if begun else ""
    written = f"{count(len(new), 'file')} copied ({sum(file.size for file in new)} bytes{before})"
    console().print(written + (f", {same} already there" if same else ""))
