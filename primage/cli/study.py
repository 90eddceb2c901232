"""`primage study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from primage.cli.output import Json, console, print_json, progress


def study(
    vo: Annotated[str, typer.Option(help="The VO it runs for.")] = "vo.primage.eu",
    site: Annotated[str, typer.Option(help="The site it runs on.")] = "local",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("study-results"),
    json: Json = False,
) -> None:
    """Run the paper's validation study as a batch job, bring its results here, and print its Table 3 next to ours.

    Example: `primage study --out study-results`
    """
    from rich.table import Table

    from primage.engine.engine import Options
    from primage.study import PAPER_TABLE_3, run_study

    with progress(quiet=json) as listener:
        done = run_study(vo, site, out, Options(listener=listener, timeout_s=1800))
    if json:
        files = [str(path) for path in done.files]
        print_json({"report": done.report, "seconds": {"batch": done.seconds}, "paper": PAPER_TABLE_3, "files": files})
        return
    screen = console()
    screen.print((out / "classification-report.txt").read_text(), markup=False)
    report = done.report
    screen.print(
        f"{report['patches']} patches: accuracy {report['accuracy']}, sensitivity {report['sensitivity']}, "
        f"specificity {report['specificity']} (always saying the commoner class: {report['majority_class_accuracy']})\n"
    )
    table = Table("seconds", "paper: local", "paper: batch", "paper: HTC", "here: batch", box=None)
    for row, paper in PAPER_TABLE_3.items():
        cells = [_cell(paper["local"]), _cell(paper["batch"]), _cell(paper["HTC"]), _cell(done.seconds.get(row))]
        table.add_row(row, *cells)
    screen.print(table)
    screen.print()
    for path in done.files:
        screen.print(str(path), markup=False)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
