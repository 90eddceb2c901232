"""A Kubernetes Job of the connector's: what it wants done, and what its annotations say of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hpc_connector.domain.text import count_of
from primage.contract.hpc import ANNOTATION_ATTEMPT, ANNOTATION_FAILED, ANNOTATION_SLURM, FINALIZER

Object = dict[str, Any]
MOST_ATTEMPTS = 9999
"""Of one job, those that a suspension ended among them: four digits are enough for everything that is not an accident."""


def wish(job: Object) -> str:
    """What a job wants done: run, suspend, delete, tidy, or nothing."""
    held = FINALIZER in (job["metadata"].get("finalizers") or [])
    over = any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in job.get("status", {}).get("conditions") or [])
    if over:
        return "tidy" if held else ""
    if job["metadata"].get("deletionTimestamp"):
        return "delete" if held else ""
    if job["spec"].get("suspend"):
        suspended = any(c["type"] == "Suspended" and c["status"] == "True" for c in job.get("status", {}).get("conditions") or [])
        return "" if suspended else "suspend"
    return "run"


def deadline_s(job: Object) -> float | None:
    """Seconds that are left of the job's deadline."""
    allowed = job["spec"].get("activeDeadlineSeconds")
    if not allowed:
        return None
    started = job.get("status", {}).get("startTime")
    spent = (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds() if started else 0.0
    return float(allowed) - min(max(0.0, spent), float(allowed))  # no clock that is ahead makes it longer than asked


def now() -> str:
    """The time, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def notes_of(job: Object) -> dict[str, str]:
    """The Job's annotations, which everybody who may edit it writes."""
    return job["metadata"].get("annotations") or {}


def was_sent(job: Object) -> bool:
    """Whether anything of it may have been sent anywhere, as far as the Job tells."""
    return FINALIZER in (job["metadata"].get("finalizers") or []) or ANNOTATION_ATTEMPT in notes_of(job)


def slurm_number(notes: dict[str, str]) -> str | None:
    """Slurm's number, empty where it is not known any more; None where the attempt is still to be submitted."""
    number = notes.get(ANNOTATION_SLURM)
    return number if number == "" or count_of(number, 2**32) is not None else None


def failures_of(job: Object) -> int:
    """Attempts that have failed; the status only repeats it, since it cannot be written together with the attempt's number."""
    return count_of(notes_of(job).get(ANNOTATION_FAILED), MOST_ATTEMPTS) or 0
