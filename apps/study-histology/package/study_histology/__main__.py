"""`histology prepare|train|predict|report|run`: each step reads and writes below one folder, and may be run again."""

from __future__ import annotations

import argparse
import json
import sys
import time
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
    print(json.dumps(prepare(options.out, source, options.partitions, options.stride), indent=2))
    return 0


def _train(options: argparse.Namespace) -> int:
    from study_histology.model import train

    train(options.out, options.epochs)
    return 0


def _predict(options: argparse.Namespace) -> int:
    from study_histology.model import predict

    for partition in options.partition or sorted((options.out / "partitions").glob("p*.csv")):
        print(predict(options.out, partition))
    return 0


def _report(options: argparse.Namespace) -> int:
    from study_histology.report import report

    document = report(options.out)
    print((options.out / "classification-report.txt").read_text())
    print(json.dumps({key: document[key] for key in ("patches", "accuracy", "sensitivity", "specificity")}))
    return 0


def _run(options: argparse.Namespace) -> int:
    """All steps in order, with the seconds each took in `timings.json`."""
    from study_histology.files import write_json

    timings = {}
    for name, step in (("prepare", _prepare), ("train", _train), ("predict", _predict), ("report", _report)):
        print(f"== {name}", flush=True)
        started = time.monotonic()
        step(options)
        timings[name] = round(time.monotonic() - started, 2)
    write_json(options.out / "timings.json", timings)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="histology", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything the study makes")
    steps = parser.add_subparsers(required=True, metavar="STEP")

    def step(name: str, function: object, help_: str) -> argparse.ArgumentParser:
        sub = steps.add_parser(name, help=help_)
        sub.set_defaults(step=function)
        return sub

    def data_options(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--data", type=Path, help="folder with the IDC set; without patches in it, scikit-image's tissue")
        sub.add_argument("--partitions", type=int, default=8, help="CSV files the test part is cut into")
        sub.add_argument("--stride", type=int, default=4, help="pixels between windows of the tissue")

    data_options(step("prepare", _prepare, "cut patches, split them, write partitions"))
    step("train", _train, "train and validate the classifier").add_argument("--epochs", type=int, default=5)
    predicting = step("predict", _predict, "classify the patches of partitions")
    predicting.add_argument("partition", type=Path, nargs="*", help="CSV files; all of them when none is given")
    step("report", _report, "combine predictions into a report")
    running = step("run", _run, "all of these in order")
    data_options(running)
    running.add_argument("--epochs", type=int, default=5)
    running.set_defaults(partition=None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
