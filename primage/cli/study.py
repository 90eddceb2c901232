"""`primage study`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primage.cli.output import Json, console, print_json, progress
from primage.cli.stacks import ConfigOption, EngineOption
from primage.engine.api import Options
from primage.engine.choose import EngineKind, choose_engine

if TYPE_CHECKING:
    from primage.operations.study_table import Study


def study(
    vo: Annotated[str, typer.Option(help="The VO it runs for.")] = "vo.primage.eu",
    site: Annotated[str, typer.Option(help="The site it runs on.")] = "local",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("study-results"),
    consumers: Annotated[
        int | None,
        typer.Option(min=1, help="Consumers of the HTC stage; by default the paper's 4, on the local site at most the cores."),
    ] = None,
    data: Annotated[
        str, typer.Option(help="Folder in DATALAKE with the IDC set; if it has no patches, scikit-image's tissue is used.")
    ] = "idc",
    train_on: Annotated[
        str | None,
        typer.Option("--train-on", metavar="BACKEND", help="HPC backend, or `batch`; by default the VO's own backend."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run every stage again, including those that are done.")] = False,
    engine: EngineOption = EngineKind.AUTO,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Run the paper's validation study: train on HPC (high-performance computing), test as a batch job and as HTC
    (high-throughput computing), report; print the paper's Table 3 and ours.

    Stages that are done are not run again, so an interrupted study continues where it stopped.

    Example: `primage study --consumers 4 --config study.test_stride=2 --out study-results`
    """
    from primage.local.software import study_libraries
    from primage.operations.study import StudyRun
    from primage.operations.study_table import PAPER_TABLE_3
    from primage.paths import repository_root
    from primage.projects.overrides import parse_override

    with progress(quiet=json) as listener:
        trainer = "" if train_on == "batch" else train_on
        options = Options(listener=listener, timeout_s=1800)
        given = {path.removeprefix("study."): value for path, value in map(parse_override, config or [])}
        settings = {"data": data, **({"consumers": consumers} if consumers else {}), **given}
        libraries = partial(study_libraries, repository_root())
        done = StudyRun(vo, site, out, choose_engine(engine), options, settings, libraries, trainer).run(again=again)
    if json:
        files = [str(path) for path in done.files]
        print_json(
            {
                "report": done.report,
                "seconds": done.seconds,
                "speedup": done.speedup,
                "consumers": done.consumers,
                "paper": PAPER_TABLE_3,
                "files": files,
            }
        )
    else:
        _show(done, out)


def _show(done: Study, out: Path) -> None:
    from rich.table import Table

    from primage.operations.study_page import cell
    from primage.operations.study_table import PAPER_TABLE_3

    screen = console()
    screen.print((out / "classification-report.txt").read_text())
    report = done.report
    screen.print(
        f"{report['patches']} patches, {report['predictions']} predictions: accuracy {report['accuracy']}, "
        f"sensitivity {report['sensitivity']}, specificity {report['specificity']} "
        f"(always choosing the more common class: {report['majority_class_accuracy']})\n"
        f"On another kind of machine the accuracy may differ by up to {report['training']['accuracy_varies_by']}\n",
        markup=False,
    )
    columns = ("local", "batch", "HTC")
    table = Table("seconds", *(f"paper {name}" for name in columns), *columns, box=None)
    for number, column in enumerate(table.columns):
        column.no_wrap, column.justify = True, "right" if number else "left"
    for row, paper in PAPER_TABLE_3.items():
        table.add_row(row, *(cell(paper[name]) for name in columns), *(cell(done.seconds[name][row]) for name in columns))
    screen.print(table)
    screen.print(f"Table 3 of the paper and here; HTC with 4 consumers in the paper, {done.consumers} here")
    if done.speedup:
        times = done.speedup
        screen.print(
            f"HTC is {times['execution']} times faster than batch in execution, {times['total']} in total (paper: 3.3, 2.2)"
        )
    screen.print(f"Partitions per consumer: {', '.join(map(str, done.shares))}\n")
    for path in done.files:
        screen.print(str(path))
