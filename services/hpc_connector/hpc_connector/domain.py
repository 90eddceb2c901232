"""What an HPC job is and what becomes of it: no I/O here.

Whatever comes from a person, a job or an HPC machine is read here, strictly and within limits, and nothing that it may say
raises anything but RefusedError or UnavailableError, which concern that one job.

A job is a `batch/v1` Job with `spec.managedBy: hpc.primage.eu/connector` and a config map in the form of the paper's
figure 8 (`monitoring_period`, `job` with host and script), named by the annotation `hpc.primage.eu/job` of its pod template.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec
from msgspec import Meta

MANAGER = "hpc.primage.eu/connector"
FINALIZER = "hpc.primage.eu/cancel"
ANNOTATION_JOB = "hpc.primage.eu/job"
ANNOTATION_DIGEST = "hpc.primage.eu/job-digest"
"""SHA-256 of the config map's data: in the pod template, which cannot be changed, or else written to the Job with the attempt."""
ANNOTATION_BACKEND = "hpc.primage.eu/backend"
"""Which backend the job goes to, written with the attempt; who is asked first when the job is deleted."""
ANNOTATION_ATTEMPT = "hpc.primage.eu/attempt"
"""Number of the latest attempt, written before anything is sent: the intent."""
ANNOTATION_FAILED = "hpc.primage.eu/failed"
"""How many attempts have failed, written together with the number of the next."""
ANNOTATION_SLURM = "hpc.primage.eu/slurm-job"
"""Slurm's number of the latest attempt, written once it is known."""
ANNOTATIONS = frozenset({ANNOTATION_BACKEND, ANNOTATION_DIGEST, ANNOTATION_ATTEMPT, ANNOTATION_FAILED, ANNOTATION_SLURM})
"""On a Job itself."""
TOO_LONG = "tooLong"
"""Put into the specification of a Job that is longer than REQUEST_BYTES, which is not kept."""
NO_IMAGE = "hpc.primage.eu/none"
"""Image of a job that runs plain on the HPC machine, not in a container."""
PERIOD_S = 15
"""The paper's monitoring_period (figure 8)."""
TAIL_BYTES = 2000

MOST_ATTEMPTS = 9999
"""Of one job, those that a suspension ended among them: four digits are enough for everything that is not an accident."""
MOST_TRIES = 100
"""Highest backoffLimit and one: more than this many failures of one program are not bad luck."""
REQUEST_BYTES = 128 * 1024
"""Of a Job, and of its config map: each is held in memory as long as the job is, and programs longer than that belong in HOME."""
MOST_PATHS, PATH_BYTES = 1000, 1024
"""Inputs or outputs a job names, and the length of each: more are better named as one folder."""
MOST_FILES = 100_000
"""Files in what a job names: their names and digests (about 20 MB) are held in memory at once."""
LONGEST_S = 366 * 86400
"""Longest deadline of a job: no partition runs one longer, and greater numbers are beyond what Slurm counts in."""
LONGEST_PERIOD_S = 3600
MESSAGE_CHARACTERS = 20_000
"""Of a condition's message, which Kubernetes bounds at 32 KiB."""


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


_VARIABLE = r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})"
_REST = rf"(?:[A-Za-z0-9_/.+-]|{_VARIABLE})*"
SCRATCH = rf"\A(?:~(?:/{_REST})?|(?:/|{_VARIABLE}){_REST})\Z"
"""A folder by its whole path, in which variables stand for something on the login node, and nothing else does."""
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"


class Backend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An HPC centre, as the site describes it to the connector (PRIMAGE_BACKENDS), and nobody else.

    Attributes:
        endpoint: host, or host:port, of the login node.
        partition, account: Slurm's; empty for its defaults.
        scratch: folder on the login and compute nodes for jobs' working folders; `~` and `$SCRATCH` are read there.
        datalake: where the DATALAKE volume is mounted there; empty where it is not.
        slurmrestd: URL of Slurm's REST daemon, TLS only; empty where Slurm's commands are used over SSH.
        max_jobs: most jobs in Slurm at a time; others wait here.
        poll_s: shortest time between two looks at the queue, seconds.
    """

    name: Annotated[str, Meta(pattern=r"\A[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z", max_length=40)]
    endpoint: Annotated[str, Meta(pattern=rf"\A{_HOST}\Z", max_length=260)]
    partition: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.,-]*\Z", max_length=200)] = ""
    account: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]*\Z", max_length=200)] = ""
    scratch: Annotated[str, Meta(pattern=SCRATCH, max_length=PATH_BYTES)] = "$HOME"
    datalake: Annotated[str, Meta(pattern=r"\A(?:/[^\x00-\x1f]*)?\Z", max_length=PATH_BYTES)] = ""
    slurmrestd: Annotated[str, Meta(pattern=rf"\A(?:https://{_HOST})?\Z", max_length=260)] = ""
    max_jobs: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    poll_s: Annotated[float, Meta(ge=0.2, le=600)] = 2.0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of its SSH server."""
        host, colon, port = self.endpoint.rpartition(":")
        return (host, int(port)) if colon else (self.endpoint, 22)


def expanded(scratch: str, values: dict[str, str]) -> str | None:
    """A backend's scratch folder, for an account of which these variables are known; None where that is not enough."""
    names = {match.group().strip("${}") for match in re.finditer(_VARIABLE, scratch)}
    if not names <= values.keys():
        return None
    text = re.sub(_VARIABLE, lambda match: values[match.group().strip("${}")], scratch)
    return values["HOME"] + text[1:] if text.startswith("~") else text


def backends_of(text: str) -> tuple[Backend, ...]:
    """The backends that PRIMAGE_BACKENDS describes, a JSON list.

    Raises:
        ValueError: anything in it is not as it must be; says what and where.
    """
    found = tuple(msgspec.json.decode(text, type=list[Backend]))
    if len({backend.name for backend in found}) != len(found):
        raise ValueError("two backends have the same name")
    return found


def backend_for(host: str, backends: Sequence[Backend]) -> Backend:
    """The backend a job names, by its name or its ENDPOINT; raises RefusedError."""
    for backend in backends:
        if host in {backend.name, backend.endpoint}:
            return backend
    known = ", ".join(backend.name for backend in backends) or "none"
    raise RefusedError("UnknownBackend", f"this VO has no HPC backend {readable(host, 80)!r}; it has {known}")


def readable(text: str, most: int = MESSAGE_CHARACTERS) -> str:
    """A text as it may stand in a condition, an event or a log, whoever wrote it: what cannot be shown is replaced."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def count_of(text: object, most: int) -> int | None:
    """A whole number in ASCII digits, not above `most`; None for anything else."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > most:
        return None
    return int(text)


def digest_of(data: dict[str, str]) -> str:
    """SHA-256 of a config map's data, as programs that make HPC jobs write it into the pod template."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


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
    if sum(len(key) + len(value) for key, value in data.items()) > REQUEST_BYTES:
        raise RefusedError(
            "Unfit", f"the config map is longer than {REQUEST_BYTES >> 10} KiB; keep the program in HOME, among the inputs"
        )
    paper = _paper_job(data)
    pod = spec["template"]["spec"]
    if len(pod["containers"]) != 1:
        raise RefusedError("Unfit", "an HPC job has exactly one container")
    container = pod["containers"][0]
    amounts = {**(container.get("resources", {}).get("requests") or {}), **(container.get("resources", {}).get("limits") or {})}
    tries, seconds = int(spec.get("backoffLimit", 2)) + 1, int(spec.get("activeDeadlineSeconds") or 0)
    if tries > MOST_TRIES or seconds > LONGEST_S:
        raise RefusedError("Unfit", f"an HPC job has a backoffLimit below {MOST_TRIES} and a deadline of at most {LONGEST_S} s")
    return Request(
        uid=meta["uid"],
        name=meta["name"],
        host=paper.host,
        script=paper.script,
        arguments=_texts(container.get("args") or [], "an argument"),
        environment=_environment(container),
        image=_image(container["image"]),
        partition=paper.partition,
        cpus=math.ceil(amount(amounts.get("cpu", "0"))),
        memory_mib=math.ceil(amount(amounts.get("memory", "0")) / 2**20),
        gpus=int(amount(amounts.get("nvidia.com/gpu", "0"))),
        seconds=seconds,
        inputs=_paths(paper.inputs),
        outputs=_paths(paper.outputs),
        period_s=_period(data.get("monitoring_period", str(PERIOD_S))),
        tries=tries,
    )


def slim(job: dict[str, Any]) -> dict[str, Any]:
    """A Job as it is kept in memory: without what nobody reads, and of one that is too long, without what makes it so."""
    job["metadata"].pop("managedFields", None)
    if len(json.dumps(job)) > REQUEST_BYTES:
        meta = {key: value for key, value in job["metadata"].items() if key not in {"annotations", "labels"}}
        ours = {key: value[:PATH_BYTES] for key, value in (job["metadata"].get("annotations") or {}).items() if key in ANNOTATIONS}
        job["metadata"] = {**meta, "annotations": ours}
        job["spec"] = {**job["spec"], "template": {"spec": {"containers": []}}, TOO_LONG: True}
    return job


class _PaperJob(msgspec.Struct):
    """Figure 8's `job`: its host and script, and what we add."""

    host: str
    script: str
    inputs: list[str] = []
    outputs: list[str] = []
    partition: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.,-]*\Z", max_length=200)] = ""


def _paper_job(data: dict[str, str]) -> _PaperJob:
    try:
        paper = msgspec.json.decode(data["job"], type=_PaperJob)
    except KeyError:
        raise RefusedError("Unfit", "the config map has no key `job`: it must be JSON with host and script") from None
    except (ValueError, RecursionError) as error:
        words = f"the config map's key `job` must be JSON with host and script, partition a name, inputs and outputs lists: {error}"
        raise RefusedError("Unfit", readable(words, 500)) from error
    if "\0" in paper.script:
        raise RefusedError("Unfit", "the script holds a NUL byte")
    return paper


def _environment(container: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    found = []
    for item in container.get("env") or []:
        if item.get("valueFrom"):
            raise RefusedError("Unfit", f"variable {item['name']} comes from an object of the cluster, which an HPC job cannot see")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", item["name"]):
            raise RefusedError("Unfit", f"no shell takes a variable named {item['name']!r}")
        found.append((item["name"], *_texts([item.get("value") or ""], f"variable {item['name']}")))
    return tuple(found)


def _texts(values: list[str], what: str) -> tuple[str, ...]:
    if any("\0" in value for value in values):
        raise RefusedError("Unfit", f"{what} holds a NUL byte")
    return tuple(values)


def _image(text: str) -> str:
    """An image as Apptainer takes it; what begins with a dash would be an option."""
    if text.startswith("-") or not text.isprintable():
        raise RefusedError("Unfit", f"{readable(text, 80)!r} is not the name of an image")
    return text


def _paths(values: list[str]) -> tuple[str, ...]:
    """Paths below HOME/private as they are written shortest: what is checked is what is used."""
    if len(values) > MOST_PATHS:
        raise RefusedError("Unfit", f"a job names at most {MOST_PATHS} inputs and as many outputs; name a folder instead")
    found = []
    for value in values:
        path = PurePosixPath(value)
        text = str(path)
        if text == "." or text.startswith(("/", "-")) or ".." in path.parts or "\0" in text or len(text.encode()) > PATH_BYTES:
            raise RefusedError("Unfit", f"{readable(value, 200)!r} is no path below HOME/private")
        found.append(text)
    return tuple(found)


def is_output(path: str, outputs: tuple[str, ...]) -> bool:
    """Whether a path that an HPC machine names is one of the named outputs, or in one of them."""
    pure = PurePosixPath(path)
    return str(pure) == path and ".." not in pure.parts and any(pure.is_relative_to(output) for output in outputs)


def _period(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{1,6})?", text, re.ASCII):
        raise RefusedError("Unfit", f"monitoring_period {readable(text, 80)!r} is no number of seconds")
    return min(max(1.0, float(text)), LONGEST_PERIOD_S)


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
    """A quantity in Kubernetes' notation, below what Kubernetes itself counts to; raises RefusedError."""
    found = re.fullmatch(r"([0-9.]{1,30}(?:[eE][0-9]{1,2})?)([A-Za-z]*)", str(text), re.ASCII)
    try:
        if found and found[2] in _UNITS and (number := Decimal(found[1]) * Decimal(_UNITS[found[2]])) < 2**63:
            return number
    except InvalidOperation:
        found = None
    raise RefusedError("Unfit", f"{readable(str(text), 80)!r} is no amount")


def comment(owner: str, uid: str, attempt: int | str) -> str:
    """What a Slurm job says whose it is: cluster's namespace, Job, attempt."""
    return f"primage:{owner}:{uid}:{attempt}"


def read_comment(text: str, owner: str) -> tuple[str, int] | None:
    """The Job's uid and the attempt that a comment is of; None for another's."""
    mine = re.fullmatch(rf"primage:{re.escape(owner)}:({UID}):([1-9][0-9]{{0,3}})", text)
    return (mine[1], int(mine[2])) if mine else None


UID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""Kubernetes' uids, as a regular expression."""


def sbatch_options(request: Request, backend: Backend, owner: str, attempt: int) -> list[str]:
    """Options of sbatch; nothing a person wrote goes through a shell."""
    options = [
        f"--comment={comment(owner, request.uid, attempt)}",
        f"--job-name={request.name}",
        "--no-requeue",
        "--parsable",
        "--nodes=1",
        "--ntasks=1",
        "--open-mode=append",
    ]
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
        "partition": partition,
        "account": backend.account,
        "cpus_per_task": request.cpus,
        "memory_per_node": request.memory_mib,
        "gres": f"gpu:{request.gpus}" if request.gpus else "",
        "time_limit": math.ceil(request.seconds / 60),
    }
    job = {
        "name": request.name,
        "comment": comment(owner, request.uid, attempt),
        "requeue": False,
        "nodes": [1, 1],
        "tasks": 1,
        "open_mode": "append",
        "current_working_directory": str(PurePosixPath(folder).parent),
        "standard_output": f"{folder}/output",
        "standard_error": f"{folder}/output",
        "environment": {"PATH": "/usr/local/bin:/usr/bin:/bin"},
    }
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
        unfit: there is a result file, and what is in it is no exit status.
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


LIVE = frozenset({"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "RESIZING", "REQUEUED"})
NEVER = frozenset(
    {"BadConstraints", "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit", "AccountNotAllowed", "QOSNotAllowed"}
)
"""Reasons to wait that no waiting ends: squeue(1), JOB REASON CODES."""
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED"})


class _Queued(msgspec.Struct):
    """What counts of one of slurmrestd's `jobs`."""

    job_id: Annotated[int, Meta(ge=1, le=2**32)]
    job_state: Annotated[str, Meta(pattern=r"\A[A-Z_]{1,40}\Z")]
    state_reason: str | None = None
    comment: str | None = None


def read_queue(jobs: Iterable[bytes | msgspec.Raw], owner: str) -> dict[tuple[str, int], dict[str, str]]:
    """By Job's uid and attempt, what slurmrestd's `jobs` says; of two of one attempt, the one that lives, else the first."""
    found: dict[tuple[str, int], dict[str, str]] = {}
    mine = []
    for text in jobs:
        try:
            job = msgspec.json.decode(text, type=_Queued)
        except (ValueError, RecursionError):
            continue
        if key := read_comment(job.comment or "", owner):
            mine.append((job.job_id, key, job))
    for number, key, job in sorted(mine, key=lambda item: item[:2]):
        if key not in found or (job.job_state in LIVE and found[key]["state"] not in LIVE):
            found[key] = {"slurm": str(number), "state": job.job_state, "why": _reason(job.state_reason or "")}
    return found


def read_poll(text: str, owner: str) -> dict[tuple[str, int], Seen]:
    """By Job's uid and attempt, what `remote/poll.sh` printed; whatever it cannot have printed is left out.

    Lines are `Q|number|state|reason|comment`, `R|uid|attempt|exit status` and `S|uid|attempt|bytes`.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for line in text.split("\n"):
        parts = line.split("|")
        if parts[0] == "Q" and len(parts) == 5:
            mine = read_comment(parts[4], owner)
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
    if seen.unfit and (not words or seen.state == "COMPLETED"):
        said = "left something else than an exit status (0 to 255) in its result file, which only run.sh writes"
        return End(done=False, reason="ResultUnfit", message=said, again=False)
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
}


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
