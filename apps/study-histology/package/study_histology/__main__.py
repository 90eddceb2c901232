"""`histology prepare|train|predict|report|notebook|run`: each step reads and writes below one folder, and may be run again."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """The command line; 1 and one sentence when data is missing or unfit."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.step(options))
    except (ValueError, FileNotFoundError) as error:
        print(f"histology: {error}", file=sys.stderr)
        return 1


def _prepare(options: argparse.Namespace) -> int:
    from study_histology.data import prepare

    source = options.data if options.data and any(options.data.rglob("*_class?.png")) else None
    print(json.dumps(prepare(options.out, source, options.partitions, options.stride, options.test_stride), indent=2))
    return 0


def _train(options: argparse.Namespace) -> int:
    from study_histology.model import train

    train(options.out, options.epochs)
    return 0


def _predict(options: argparse.Namespace) -> int:
    from study_histology.predict import predict

    for partition in options.partition or sorted((options.out / "partitions").glob("p*.csv")):
        print(predict(options.out, partition, options.out / options.results))
    return 0


def _report(options: argparse.Namespace) -> int:
    from study_histology.report import report

    document = report(options.out, options.out / options.results, options.out / options.same if options.same else None)
    print((options.out / "classification-report.txt").read_text())
    print(json.dumps({key: document[key] for key in ("patches", "accuracy", "sensitivity", "specificity")}))
    return 0


def _notebook(options: argparse.Namespace) -> int:
    from study_histology.notebook import execute

    print(execute(options.out, options.out / options.results))
    return 0


STEPS = {"prepare": _prepare, "train": _train, "predict": _predict, "report": _report, "notebook": _notebook}


def _run(options: argparse.Namespace) -> int:
    """Steps in order, with the seconds each took in `timings-<first step>.json`."""
    from study_histology.files import write_json

    if options.fresh:
        for path in (*options.out.glob("predictions*"), options.out / "data", options.out / "partitions"):
            shutil.rmtree(path, ignore_errors=True)
        (options.out / "history.json").unlink(missing_ok=True)
    timings = {}
    for name in options.steps:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        STEPS[name](options)
        timings[name] = round(time.monotonic() - started, 2)
    write_json(options.out / f"timings-{options.steps[0]}.json", timings)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="histology", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything the study makes")
    steps = parser.add_subparsers(required=True, metavar="STEP")

    def step(name: str, function: object, help_: str, *options: Callable[[argparse.ArgumentParser], object]) -> None:
        sub = steps.add_parser(name, help=help_)
        sub.set_defaults(step=function)
        for add in options:
            add(sub)

    step("prepare", _prepare, "cut patches, split them, write partitions", _data_options)
    step("train", _train, "train and validate the classifier", _training_options)
    step("predict", _predict, "classify the patches of partitions", _results_options, _partition_options)
    step("report", _report, "combine predictions into a report", _results_options, _same_options)
    step("notebook", _notebook, "run the notebook that shows them", _results_options)
    everything = (_data_options, _training_options, _results_options, _same_options, _run_options)
    step("run", _run, "several of these in order", *everything)
    return parser


def _data_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--data", type=Path, help="folder with the IDC set; without patches in it, scikit-image's tissue")
    sub.add_argument("--partitions", type=int, default=128, help="CSV files the test part is cut into")
    sub.add_argument("--stride", type=int, default=5, help="pixels between windows of the tissue")
    sub.add_argument("--test-stride", type=int, default=1, help="the same in the test part")


def _training_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--epochs", type=int, default=5)


def _results_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--results", default="predictions", help="folder below --out for predictions")


def _partition_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("partition", type=Path, nargs="*", help="CSV files; all of them when none is given")


def _same_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--same", default="", help="folder below --out whose predictions must be the same")


def _run_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    sub.add_argument("--fresh", action="store_true", help="remove what an earlier run made")
    sub.set_defaults(partition=None)


if __name__ == "__main__":
    sys.exit(main())
