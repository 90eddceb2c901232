"""What one look at an HPC centre shows of an attempt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hpc_connector.domain.submission import comment, read_comment
from hpc_connector.domain.text import count_of, readable

Numbers = Mapping[tuple[str, int], str]
"""Slurm's number of attempts, by Job's uid and the attempt's own; empty where it is not known."""
LIVE = frozenset({"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "RESIZING", "REQUEUED"})
NEVER = frozenset(
    {"BadConstraints", "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit", "AccountNotAllowed", "QOSNotAllowed"}
)
"""Reasons to wait that no waiting ends: squeue(1), JOB REASON CODES."""
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED"})


@dataclass(frozen=True)
class Seen:
    """What one look at the HPC centre showed of one attempt.

    Attributes:
        slurm: Slurm's number; empty when it does not know the attempt (any more).
        state: Slurm's word, such as PENDING, RUNNING, TIMEOUT; empty likewise.
        why: why it waits, in Slurm's word.
        code: exit status from the result file; None while there is none.
        written: bytes of output so far.
        unfit: there is a result file, and what is in it is not an exit status.
    """

    slurm: str = ""
    state: str = ""
    why: str = ""
    code: int | None = None
    written: int = 0
    unfit: bool = False

    @property
    def over(self) -> bool:
        """Whether it has ended, or is unknown to Slurm."""
        return self.state not in LIVE


class _Queued(msgspec.Struct):
    """What counts of one of slurmrestd's `jobs`."""

    job_id: Annotated[int, Meta(ge=1, le=2**32)]
    job_state: Annotated[str, Meta(pattern=r"\A[A-Z_]{1,40}\Z")]
    state_reason: str | None = None
    comment: str | None = None
    user_name: str | None = None


def read_queue(
    jobs: Iterable[bytes | msgspec.Raw], owner: str, user: str, numbers: Numbers
) -> dict[tuple[str, int], dict[str, str]]:
    """By Job's uid and attempt, what slurmrestd's `jobs` says; of two of one attempt, the one that lives, else the first.

    Args:
        user: whose jobs count: slurmrestd also lists others', who may write any comment.
        numbers: attempts that are known by these: a job may change its own comment.
    """
    attempts = _by_number(numbers)
    found: dict[tuple[str, int], dict[str, str]] = {}
    mine = []
    for text in jobs:
        try:
            job = msgspec.json.decode(text, type=_Queued)
        except (ValueError, RecursionError):
            continue
        if job.user_name == user and (key := _whose(str(job.job_id), job.comment or "", owner, numbers, attempts)):
            mine.append((job.job_id, key, job))
    for number, key, job in sorted(mine, key=lambda item: item[:2]):
        if key not in found or (job.job_state in LIVE and found[key]["state"] not in LIVE):
            found[key] = {"slurm": str(number), "state": job.job_state, "why": _reason(job.state_reason or "")}
    return found


def _by_number(numbers: Numbers) -> dict[str, tuple[str, int]]:
    return {number: key for key, number in numbers.items() if number}


def _whose(number: str, said: str, owner: str, numbers: Numbers, attempts: Mapping[str, tuple[str, int]]) -> tuple[str, int] | None:
    """The attempt that a job of Slurm's is: by its number where that is known, else by its comment, if no other job is that."""
    if number in attempts:
        return attempts[number]
    key = read_comment(said, owner)
    return None if key is None or numbers.get(key) else key


def read_poll(text: str, owner: str, numbers: Numbers) -> dict[tuple[str, int], Seen]:
    """By Job's uid and attempt, what `remote/poll.sh` printed; whatever it cannot have printed is left out.

    Lines are `Q|number|state|reason|comment`, `R|uid|attempt|exit status` and `S|uid|attempt|bytes`.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    attempts = _by_number(numbers)
    for line in text.split("\n"):
        parts = line.split("|")
        if parts[0] == "Q" and len(parts) == 5:
            mine = _whose(parts[1], parts[4], owner, numbers, attempts)
            if mine and count_of(parts[1], 2**32) and re.fullmatch(r"[A-Z_]{1,40}", parts[2]):
                found.setdefault(mine, {}).update(slurm=parts[1], state=parts[2], why=_reason(parts[3]))
        elif parts[0] in {"R", "S"} and len(parts) == 4 and (mine := read_comment(comment(owner, parts[1], parts[2]), owner)):
            about = result_of(parts[3]) if parts[0] == "R" else {"written": count_of(parts[3], 2**63) or 0}
            found.setdefault(mine, {}).update(about)
    return {key: Seen(**values) for key, values in found.items()}


def result_of(text: str) -> dict[str, Any]:
    """What a result file says: `code`, or `unfit` where it holds anything else than an exit status."""
    code = count_of(text, 255)
    return {"unfit": True} if code is None else {"code": code}


def _reason(text: str) -> str:
    """Slurm's word for why a job waits; a sentence in brackets in some cases."""
    return readable(text, 200)
