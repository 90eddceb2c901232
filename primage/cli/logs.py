"""`primage logs`: the output of a stack's jobs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from primage.cli.output import plain
from primage.projects.project import parse_stack_name


def logs(
    stack: Annotated[str, typer.Argument(metavar="STACK", help="An app's stack (hpc/vo.primage.eu.local).")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the job has ended.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print control characters as they are, for a program that reads them.")
    ] = False,
) -> None:
    """Show the output of a stack's jobs, wherever they run.

    Example: `primage logs hpc/vo.primage.eu.local --follow`
    """
    from primage.operations.logs import jobs_of, read

    jobs = jobs_of(parse_stack_name(stack))
    for cluster, job in jobs:
        if len(jobs) > 1:
            print(f"== {plain(job.name)}")
        for piece in read(cluster, job, follow=follow):
            sys.stdout.write(piece if raw else plain(piece))
            sys.stdout.flush()
