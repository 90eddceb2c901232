"""The paper's Table 3, and the same of a run here: what testing took as a plain process, as a batch job and by consumers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from primage.errors import PrimageError

PAPER_TABLE_3: dict[str, dict[str, int | None]] = {
    "container creation": {"local": 3, "batch": 3, "HTC": 3},
    "file transfers": {"local": None, "batch": 7, "HTC": 16},
    "queue creation": {"local": None, "batch": None, "HTC": 5},
    "execution": {"local": 140, "batch": 140, "HTC": 43},
    "total": {"local": 143, "batch": 150, "HTC": 64},
}
"""Seconds, as printed in the paper; its HTC column adds to 67."""
ROWS = tuple(PAPER_TABLE_3)
FOLDERS = {"batch": "predictions-batch", "HTC": "predictions-htc"}
"""Where the processes of a column have left their predictions."""
Column = dict[str, float | None]
"""Seconds by row of Table 3; None where there is no such thing, or it was not seen."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Process(_Strict):
    """What a process that tested said of itself: when it began, when it wrote its last prediction, how many partitions it took."""

    began: float = Field(gt=0, lt=1e11)
    ended: float = Field(gt=0, lt=1e11)
    partitions: int = Field(ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.ended < self.began:
            raise ValueError("it ended before it began")
        return self


class Seen(_Strict):
    """What was seen of a column from outside: when it was submitted and its end seen, epoch seconds, and what its queue took."""

    submitted: float
    ended: float
    queue: float | None = None
    processes: tuple[Process, ...] = ()
    """Of the plain process, whose predictions stay here."""


class _Report(BaseModel):
    processes: dict[str, tuple[Process, ...]]


def processes_of(report: Mapping[str, Any]) -> dict[str, tuple[Process, ...]]:
    """By column, what the report says of the processes: members of the VO can write it."""
    try:
        found = _Report.model_validate(report).processes
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PrimageError(f"the study's report is not one: {where}: {first['msg']}", todo="run `primage study --again`") from error
    return {column: found.get(folder, ()) for column, folder in FOLDERS.items()}


def table_of(seen: Mapping[str, Seen], processes: Mapping[str, Sequence[Process]]) -> dict[str, Column]:
    """Table 3 of a run; what an interrupted one did not see is None."""
    here = seen.get("local")
    local = _column(here, here.processes if here else ())
    # There is no container, and nothing to bring it.
    local |= dict.fromkeys(("container creation", "file transfers", "queue creation"))
    return {"local": local, **{column: _column(seen.get(column), processes[column]) for column in FOLDERS}}


def speedup_of(table: Mapping[str, Column]) -> dict[str, float]:
    """How many times faster HTC was than one batch job, in execution and in total."""
    found = {}
    for row in ("execution", "total"):
        batch, htc = table["batch"][row], table["HTC"][row]
        if batch and htc:
            found[row] = round(batch / htc, 2)
    return found


def _column(seen: Seen | None, processes: Sequence[Process]) -> Column:
    column: Column = dict.fromkeys(ROWS)
    if processes:
        began = min(process.began for process in processes)
        column["execution"] = max(process.ended for process in processes) - began
        if seen:
            column["container creation"] = max(0.0, began - seen.submitted)
            # Everything is read from and written to the shared volume: no file is transferred before or after.
            column["file transfers"] = 0.0
    if seen:
        column["queue creation"] = seen.queue
        column["total"] = seen.ended - seen.submitted + (seen.queue or 0.0)
    return {row: None if value is None else round(value, 1) for row, value in column.items()}


@dataclass(frozen=True)
class Study:
    """A study that has ended.

    Attributes:
        report: the study's own report (accuracy, sensitivity, specificity, confusion matrix, …).
        seconds: Table 3's columns (local, batch, HTC) as measured here.
        consumers: of the HTC column.
        shares: how many partitions each of them dealt with.
        files: what was brought here.
    """

    report: dict[str, Any]
    seconds: dict[str, Column]
    consumers: int
    shares: list[int]
    files: list[Path]

    @property
    def speedup(self) -> dict[str, float]:
        """How many times faster HTC was than one batch job, in execution and in total."""
        return speedup_of(self.seconds)
