"""What an HPC job is and what becomes of it: no I/O here.

A job is a `batch/v1` Job with `spec.managedBy: hpc.primage.eu/connector` and a config map in the form of the paper's
figure 8 (`monitoring_period`, `job` with host and script), named by the annotation `hpc.primage.eu/job` of its pod template.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import Any

MANAGER = "hpc.primage.eu/connector"
FINALIZER = "hpc.primage.eu/cancel"
ANNOTATION_JOB = "hpc.primage.eu/job"
ANNOTATION_ATTEMPT = "hpc.primage.eu/attempt"
"""Number of the latest attempt, written before anything is sent: the intent."""
ANNOTATION_FAILED = "hpc.primage.eu/failed"
"""How many attempts have failed, written together with the number of the next."""
ANNOTATION_SLURM = "hpc.primage.eu/slurm-job"
"""Slurm's number of the latest attempt, written once it is known."""
NO_IMAGE = "hpc.primage.eu/none"
"""Image of a job that runs plain on the HPC machine, not in a container."""
PERIOD_S = 15
"""The paper's monitoring_period (figure 8)."""
TAIL_BYTES = 2000


class RefusedError(Exception):
    """A job that can never run; ends it with a reason.

    Args:
        reason: a CamelCase word for the Job's condition.
        message: a sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnavailableError(Exception):
    """Something that may pass: no route, login refused, no space, Slurm away. The job waits and says so."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Backend:
    """An HPC centre, from config map `backend-<name>`.

    Attributes:
        endpoint: host, or host:port, of the login node.
        partition, account: Slurm's; empty for its defaults.
        scratch: folder on the login and compute nodes for jobs' working folders; `~` and `$SCRATCH` are read there.
        datalake: where the DATALAKE volume is mounted there; empty where it is not.
        slurmrestd: URL of Slurm's REST daemon; empty where Slurm's commands are used over SSH.
        max_jobs: most jobs in Slurm at a time; others wait here.
        poll_s: shortest time between two looks at the queue, seconds.
    """

    name: str
    endpoint: str
    partition: str = ""
    account: str = ""
    scratch: str = "$HOME"
    datalake: str = ""
    slurmrestd: str = ""
    max_jobs: int = 1000
    poll_s: float = 2.0

    @classmethod
    def of(cls, name: str, data: dict[str, str]) -> Backend:
        """Raises RefusedError when it is unfit."""
        try:
            return cls(
                name=name, endpoint=data["ENDPOINT"].strip(), partition=data.get("partition", ""),
                account=data.get("account", ""), scratch=data.get("scratch") or "$HOME", datalake=data.get("datalake", ""),
                slurmrestd=data.get("slurmrestd", "").rstrip("/"),
                max_jobs=int(data.get("max_jobs") or 1000), poll_s=float(data.get("poll_seconds") or 2),
            )  # fmt: skip
        except (KeyError, ValueError) as error:
            raise RefusedError("BackendUnfit", f"config map backend-{name} is unfit: {error}") from error

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of its SSH server."""
        host, colon, port = self.endpoint.rpartition(":")
        return (host, int(port)) if colon and port.isdigit() else (self.endpoint, 22)


@dataclass(frozen=True)
class Request:
    """What is asked of the HPC centre.

    Attributes:
        uid, name: of the Kubernetes Job.
        script: the program; its own #SBATCH lines are comments like any other.
        arguments, environment: what it is given.
        image: Apptainer image, or NO_IMAGE.
        cpus, memory_mib, gpus: for the job; 0 for the partition's default.
        seconds: longest run; 0 for the partition's default.
        inputs, outputs: paths below HOME/private, brought there before and back after success.
        period_s: longest time between two looks at it.
        tries: how often it is tried in all.
    """

    uid: str
    name: str
    host: str
    script: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    image: str = NO_IMAGE
    partition: str = ""
    cpus: int = 0
    memory_mib: int = 0
    gpus: int = 0
    seconds: int = 0
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    period_s: float = PERIOD_S
    tries: int = 3


def request_of(job: dict[str, Any], data: dict[str, str]) -> Request:
    """The request of a Job and its config map.

    Raises:
        RefusedError: it asks for what cannot be.
    """
    meta, spec = job["metadata"], job["spec"]
    paper = _paper_job(data)
    pod = spec["template"]["spec"]
    if len(pod["containers"]) != 1:
        raise RefusedError("Unfit", "an HPC job has exactly one container")
    container = pod["containers"][0]
    amounts = {**(container.get("resources", {}).get("requests") or {}), **(container.get("resources", {}).get("limits") or {})}
    period = _number(data.get("monitoring_period", PERIOD_S), "monitoring_period")
    return Request(
        uid=meta["uid"], name=meta["name"], host=paper["host"], script=paper["script"],
        arguments=_texts(container.get("args") or [], "an argument"), environment=_environment(container),
        image=container["image"], partition=_word(paper.get("partition", ""), "partition"),
        cpus=math.ceil(amount(amounts.get("cpu", "0"))), memory_mib=math.ceil(amount(amounts.get("memory", "0")) / 2**20),
        gpus=int(amount(amounts.get("nvidia.com/gpu", "0"))), seconds=int(spec.get("activeDeadlineSeconds") or 0),
        inputs=_paths(paper.get("inputs", [])), outputs=_paths(paper.get("outputs", [])),
        period_s=max(1.0, period), tries=int(spec.get("backoffLimit", 2)) + 1,
    )  # fmt: skip


def _paper_job(data: dict[str, str]) -> dict[str, Any]:
    try:
        paper = json.loads(data["job"])
        if not isinstance(paper["host"], str) or not isinstance(paper["script"], str):
            raise TypeError("host and script must be texts")
    except (KeyError, ValueError, TypeError) as error:
        raise RefusedError("Unfit", f"the config map's key `job` must be JSON with host and script: {error!r}") from error
    if "\0" in paper["script"]:
        raise RefusedError("Unfit", "the script holds a NUL byte")
    found: dict[str, Any] = paper
    return found


def _environment(container: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    found = []
    for item in container.get("env") or []:
        if item.get("valueFrom"):
            raise RefusedError("Unfit", f"variable {item['name']} comes from an object of the cluster, which an HPC job cannot see")
        if not re.fullmatch(r"[A-Za-z_]\w*", item["name"]):
            raise RefusedError("Unfit", f"no shell takes a variable named {item['name']!r}")
        found.append((item["name"], *_texts([item.get("value") or ""], f"variable {item['name']}")))
    return tuple(found)


def _texts(values: list[str], what: str) -> tuple[str, ...]:
    if any("\0" in value for value in values):
        raise RefusedError("Unfit", f"{what} holds a NUL byte")
    return tuple(values)


def _word(text: Any, what: str) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"[\w.,-]*", text):
        raise RefusedError("Unfit", f"{what} {text!r} is no name")
    return text


def _paths(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RefusedError("Unfit", "inputs and outputs must be lists of paths below HOME/private")
    for value in values:
        path = PurePosixPath(value)
        if not value or "\0" in value or path.is_absolute() or ".." in path.parts or value.startswith("-"):
            raise RefusedError("Unfit", f"{value!r} is no path below HOME/private")
    return tuple(str(PurePosixPath(value)) for value in values)


def _number(text: object, what: str) -> float:
    try:
        return float(str(text))
    except ValueError as error:
        raise RefusedError("Unfit", f"{what} {text!r} is no number of seconds") from error


_UNITS: dict[str, int | str] = {
    "": 1,
    "m": "0.001",
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def amount(text: str) -> Decimal:
    """A quantity in Kubernetes' notation; raises RefusedError."""
    found = re.fullmatch(r"([0-9.]+(?:[eE][0-9]+)?)([A-Za-z]*)", str(text))
    try:
        if found and found[2] in _UNITS:
            return Decimal(found[1]) * Decimal(_UNITS[found[2]])
    except InvalidOperation:
        found = None
    raise RefusedError("Unfit", f"{text!r} is no amount")


def comment(owner: str, uid: str, attempt: int) -> str:
    """What a Slurm job says whose it is: cluster's namespace, Job, attempt."""
    return f"primage:{owner}:{uid}:{attempt}"


def read_comment(text: str, owner: str) -> tuple[str, int] | None:
    """The Job's uid and the attempt that a comment is of; None for another's."""
    mine = re.fullmatch(rf"primage:{re.escape(owner)}:([0-9a-f-]+):(\d+)", text)
    return (mine[1], int(mine[2])) if mine else None


def sbatch_options(request: Request, backend: Backend, owner: str, attempt: int) -> list[str]:
    """Options of sbatch; nothing a person wrote goes through a shell."""
    options = [
        f"--comment={comment(owner, request.uid, attempt)}", f"--job-name={request.name}", "--no-requeue", "--parsable",
        "--nodes=1", "--ntasks=1", "--open-mode=append",
    ]  # fmt: skip
    partition = request.partition or backend.partition
    options += [f"--partition={partition}"] if partition else []
    options += [f"--account={backend.account}"] if backend.account else []
    options += [f"--cpus-per-task={request.cpus}"] if request.cpus else []
    options += [f"--mem={request.memory_mib}M"] if request.memory_mib else []
    options += [f"--gres=gpu:{request.gpus}"] if request.gpus else []
    options += [f"--time={math.ceil(request.seconds / 60)}"] if request.seconds else []
    return options


def rest_submission(request: Request, backend: Backend, owner: str, attempt: int, folder: str) -> dict[str, Any]:
    """The body of slurmrestd's `job/submit`, for an attempt whose files are in `folder`."""
    partition = request.partition or backend.partition
    wanted: dict[str, Any] = {
        "partition": partition, "account": backend.account, "cpus_per_task": request.cpus, "memory_per_node": request.memory_mib,
        "gres": f"gpu:{request.gpus}" if request.gpus else "", "time_limit": math.ceil(request.seconds / 60),
    }  # fmt: skip
    job = {
        "name": request.name, "comment": comment(owner, request.uid, attempt), "requeue": False, "nodes": [1, 1], "tasks": 1,
        "open_mode": "append", "current_working_directory": str(PurePosixPath(folder).parent),
        "standard_output": f"{folder}/output", "standard_error": f"{folder}/output",
        "environment": {"PATH": "/usr/local/bin:/usr/bin:/bin"},
    }  # fmt: skip
    script = f"#!/bin/bash\nexec {shlex.quote(f'{folder}/run.sh')} {shlex.quote(folder)}\n"
    return {"script": script, "job": {**job, **{key: value for key, value in wanted.items() if value}}}


@dataclass(frozen=True)
class Seen:
    """What one look at the HPC centre showed of one attempt.

    Attributes:
        slurm: Slurm's number; empty when it does not know the attempt (any more).
        state: Slurm's word, such as PENDING, RUNNING, TIMEOUT; empty likewise.
        why: why it waits, in Slurm's word.
        code: exit status from the result file; None while there is none.
        written: bytes of output so far.
    """

    slurm: str = ""
    state: str = ""
    why: str = ""
    code: int | None = None
    written: int = 0

    @property
    def over(self) -> bool:
        """Whether it has ended, or is unknown to Slurm and left no result."""
        return self.state not in LIVE or (self.code is not None and not self.state)


LIVE = frozenset({"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "RESIZING", "REQUEUED"})
NEVER = frozenset(
    {"BadConstraints", "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit", "AccountNotAllowed", "QOSNotAllowed"}
)
"""Reasons to wait that no waiting ends: squeue(1), JOB REASON CODES."""
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED"})


def read_queue(jobs: Iterable[dict[str, Any]], owner: str) -> dict[tuple[str, int], dict[str, str]]:
    """By Job's uid and attempt, what slurmrestd's `jobs` says; of two of one attempt, the one that lives, else the first."""
    found: dict[tuple[str, int], dict[str, str]] = {}
    for job in sorted(jobs, key=lambda item: int(item["job_id"])):
        key = read_comment(str(job.get("comment") or ""), owner)
        if key is None:
            continue
        state = str(job["job_state"])
        if key not in found or (state in LIVE and found[key]["state"] not in LIVE):
            found[key] = {"slurm": str(job["job_id"]), "state": state, "why": str(job.get("state_reason") or "")}
    return found


def read_poll(text: str, owner: str) -> dict[tuple[str, int], Seen]:
    """By Job's uid and attempt, what `remote/poll.sh` printed.

    Lines are `Q|number|state|reason|comment`, `R|uid|attempt|exit status` and `S|uid|attempt|bytes`.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for line in text.splitlines():
        parts = line.split("|")
        if parts[0] == "Q" and len(parts) == 5:
            if mine := read_comment(parts[4], owner):
                found.setdefault(mine, {}).update(slurm=parts[1], state=parts[2].split()[0], why=parts[3])
        elif parts[0] in "RS" and len(parts) == 4 and parts[2].isdigit() and parts[3].lstrip("-").isdigit():
            key = "code" if parts[0] == "R" else "written"
            found.setdefault((parts[1], int(parts[2])), {})[key] = int(parts[3])
    return {key: Seen(**values) for key, values in found.items()}


@dataclass(frozen=True)
class End:
    """How an attempt ended: done, or a reason and a sentence; `again` says whether another try may help."""

    done: bool
    reason: str = ""
    message: str = ""
    again: bool = True


def end_of(seen: Seen) -> End:
    """What became of an attempt that is over, for the Job's conditions."""
    words = _STATES.get(seen.state)
    if words and not (seen.state == "COMPLETED" and seen.code):
        return End(done=seen.state == "COMPLETED", reason=words[0], message=words[1], again=words[2])
    if seen.code is None:
        if seen.state == "FAILED":
            return End(done=False, reason="Failed", message="it failed before it could say how; see its output")
        return End(done=False, reason="Lost", message="Slurm no longer knows it, and it left no result")
    if seen.code == 0:
        return End(done=True)
    if seen.code > 128:
        return End(done=False, reason="Signalled", message=f"ended by signal {seen.code - 128}")
    return End(done=False, reason="ExitStatus", message=f"ended with status {seen.code}")


def explained(end: End, tail: str) -> End:
    """The same, where the last of the output says better what happened: without control groups Slurm only writes it there."""
    if end.reason in {"Failed", "Signalled"} and "Exceeded job memory limit" in tail:
        reason, message, again = _STATES["OUT_OF_MEMORY"]
        return End(done=False, reason=reason, message=message, again=again)
    return end


_STATES = {
    "COMPLETED": ("", "", True),
    "TIMEOUT": ("TimeLimit", "ran longer than the time it asked for", False),
    "DEADLINE": ("TimeLimit", "could not end before its deadline", False),
    "OUT_OF_MEMORY": ("OutOfMemory", "used more memory than it asked for", False),
    "NODE_FAIL": ("NodeFailure", "its compute node failed", True),
    "BOOT_FAIL": ("NodeFailure", "its compute node did not start", True),
    "PREEMPTED": ("Preempted", "made room for a job that goes before it", True),
    "CANCELLED": ("Cancelled", "was cancelled on the HPC machine, by its operators or by hand", False),
    "REVOKED": ("Cancelled", "was revoked on the HPC machine", False),
}  # fmt: skip


@dataclass
class Pace:
    """When to look next: often while something is about to change, seldom while nothing is.

    Attributes:
        floor_s: shortest pause.
        pause_s: the current one.
    """

    floor_s: float
    pause_s: float = 0.0
    GROWTH = 1.3

    def next(self, *, changed: bool, ceiling_s: float) -> float:
        """The pause before the next look, seconds."""
        self.pause_s = self.floor_s if changed else max(self.floor_s, self.pause_s * self.GROWTH)
        self.pause_s = max(self.floor_s, min(self.pause_s, ceiling_s))
        return self.pause_s
