"""What a run's page shows of what others have to be asked for: its queue's server, and the reader of an HPC job's output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from portal.clients import standing
from portal.clients.readings import Reading
from portal.domain.errors import RefusedError
from portal.domain.runs import Run
from portal.domain.tasks import tasks_of
from portal.pages.shared import Visit
from primage.clients.cluster import Ref

FRESH_S = 4.0
"""An answer of a queue that is older is asked for again when somebody looks."""
PATIENCE_S = 2.0
"""So long a page waits for an answer; who looks again finds it."""
LATE_S = 20.0
MOST_BYTES = 64 * 1024
"""Of what one HPC job has written."""


@dataclass(frozen=True)
class Told:
    """What a page says of it.

    Attributes:
        found: None where it is not known.
        problem: why it is not, as a sentence without its end.
        coming: an answer is waited for.
    """

    found: Any = None
    problem: str = ""
    coming: bool = False


def queue(who: Visit, run: Run | None, name: str) -> Told | None:
    """How the queue of a run stands; None where it has none."""
    if run is None or not name or not any(job.queue for job in run.jobs):
        return None
    owner, what = who.session.person.account, f"queue {run.label}"
    known = who.portal.readings.of(owner, what)
    if known is None or (known.ended.is_set() and who.portal.readings.age_s(known) > FRESH_S):
        ask = partial(standing.queue_of, who.cluster, name, who.session.person.namespace)
        try:
            known = who.portal.readings.begin(owner, what, ask)
        except RefusedError as refusal:
            return Told(problem=str(refusal))
    known.ended.wait(PATIENCE_S)
    told = _told(who, known, "the queue's server")
    return told if told.found is None else replace(told, found=tasks_of(told.found))


def output(who: Visit, run: Run | None) -> Told | None:
    """What a run's HPC jobs have written, by their names, where somebody has asked for it; None where it has no such jobs."""
    if run is None or not any(job.hpc for job in run.jobs):
        return None
    known = who.portal.readings.of(who.session.person.account, f"output {run.label}")
    return Told({}) if known is None else _told(who, known, "the pod that reads HOME")


def ask_for_output(who: Visit, run: Run, most_jobs: int) -> None:
    """Have a run's HPC jobs' output read.

    Raises:
        RefusedError: too much is being asked for.
    """
    namespace = who.session.person.namespace
    refs = [Ref("batch/v1", "Job", job.job, namespace) for job in run.jobs if job.hpc][-most_jobs:]
    ask = partial(standing.hpc_output, who.cluster, refs, MOST_BYTES)
    who.portal.readings.begin(who.session.person.account, f"output {run.label}", ask)


def _told(who: Visit, reading: Reading, by: str) -> Told:
    if reading.ended.is_set():
        return Told(None if reading.problem else reading.found, reading.problem)
    late = who.portal.readings.age_s(reading) > LATE_S
    return Told(reading.found, f"{by} has not answered for {LATE_S:.0f} s" if late else "", coming=True)
