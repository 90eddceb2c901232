"""What the site program, the command line and the HPC connector must agree on, each fact once; the standard library only.

A job is a `batch/v1` Job with `spec.managedBy: hpc.primage.eu/connector` and a config map in the form of the paper's figure 8
(`monitoring_period`, `job` with host and script), which the annotation `hpc.primage.eu/job` of its pod template names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

PREFIX = "hpc.primage.eu/"
"""Of everything the connector writes on a Job; no tenant may write an annotation of the Job itself that begins with it."""
MANAGER = f"{PREFIX}connector"
FINALIZER = f"{PREFIX}cancel"
ANNOTATION_JOB = f"{PREFIX}job"
"""In the pod template: the config map with the job's script."""
ANNOTATION_DIGEST = f"{PREFIX}job-digest"
"""`digest_of` the config map's data: in the pod template, which cannot be changed, or else written to the Job with the attempt."""
ANNOTATION_BACKEND = f"{PREFIX}backend"
"""Which backend the job goes to, written with the attempt; who is asked first when the job is deleted."""
ANNOTATION_ATTEMPT = f"{PREFIX}attempt"
"""Number of the latest attempt, written before anything is sent: the intent."""
ANNOTATION_FAILED = f"{PREFIX}failed"
"""How many attempts have failed, written together with the number of the next."""
ANNOTATION_SLURM = f"{PREFIX}slurm-job"
"""Slurm's number of the latest attempt, written once it is known."""
ANNOTATIONS = frozenset({ANNOTATION_BACKEND, ANNOTATION_DIGEST, ANNOTATION_ATTEMPT, ANNOTATION_FAILED, ANNOTATION_SLURM})
"""On a Job itself."""
NO_IMAGE = f"{PREFIX}none"
"""Image of a job that runs directly on the HPC machine, not in a container."""

PERIOD_S = 15
"""The paper's monitoring_period (figure 8): the longest time between two looks at a job."""
LONGEST_PERIOD_S = 3600
PATH_BYTES = 1024
"""The longest path that a job or a site names."""

VARIABLE = r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})"
_REST = rf"(?:[A-Za-z0-9_/.+-]|{VARIABLE})*"
HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
"""host or host:port."""
PARTITION = r"[A-Za-z0-9_.,-]*"
ACCOUNT = r"[A-Za-z0-9_.-]*"
SCRATCH = rf"(?:~(?:/{_REST})?|(?:/|{VARIABLE}){_REST})"
"""A folder by its whole path, in which variables stand for something on the login node, and nothing else does."""
DATALAKE = r"(?:/[^\x00-\x1f]*)?"
HOST_BYTES = 260
SLURM_NAME_BYTES = 200
SLURMRESTD = rf"(?:https://{HOST})?"
"""TLS only: the token goes there."""
# Regular expressions without anchors, since pydantic's and Python's write the end of a text differently.
_TEXTS = {
    "name": (r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", 40),
    "endpoint": (HOST, HOST_BYTES),
    "partition": (PARTITION, SLURM_NAME_BYTES),
    "account": (ACCOUNT, SLURM_NAME_BYTES),
    "scratch": (SCRATCH, PATH_BYTES),
    "datalake": (DATALAKE, PATH_BYTES),
    "slurmrestd": (SLURMRESTD, HOST_BYTES),
}
MOST_JOBS = 100_000
SHORTEST_POLL_S, LONGEST_POLL_S = 0.2, 600.0


@dataclass(frozen=True)
class Backend:
    """An HPC centre as the site program describes it to a connector (PRIMAGE_BACKENDS), and nobody else.

    Attributes:
        endpoint: host, or host:port, of the login node (the paper's ENDPOINT).
        partition, account: Slurm's; empty for its defaults.
        scratch: folder on the login and compute nodes for jobs' working folders; `~` and `$SCRATCH` are looked up there.
        datalake: where the DATALAKE volume is mounted there; empty where it is not.
        slurmrestd: URL of Slurm's REST daemon; empty where Slurm's commands are used over SSH.
        max_jobs: most jobs in Slurm at a time; others wait.
        poll_s: usual time between two looks at the queue while jobs are there, seconds; after something has happened to one, the
            next looks come sooner, from a quarter of it.

    Raises:
        ValueError: a value is not what it must be.
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

    def __post_init__(self) -> None:
        for key, (pattern, longest) in _TEXTS.items():
            text: object = getattr(self, key)
            if not isinstance(text, str) or len(text) > longest or not re.fullmatch(pattern, text):
                raise ValueError(f"{key}: {str(text)[:80]!r} cannot be one")
        jobs: object = self.max_jobs
        if isinstance(jobs, bool) or not isinstance(jobs, int) or not 1 <= jobs <= MOST_JOBS:
            raise ValueError(f"max_jobs: {str(jobs)[:80]!r} is not a whole number from 1 to {MOST_JOBS}")
        pause: object = self.poll_s
        if isinstance(pause, bool) or not isinstance(pause, int | float) or not SHORTEST_POLL_S <= pause <= LONGEST_POLL_S:
            raise ValueError(f"poll_s: {str(pause)[:80]!r} is not a number from {SHORTEST_POLL_S} to {LONGEST_POLL_S}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Backend:
        """The backend that a mapping describes; raises ValueError, also for a key that is unknown or missing."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(map(str, set(given) - known)):
            raise ValueError(f"{unknown[0][:80]}: there is no such key")
        if missing := sorted({"name", "endpoint"} - set(given)):
            raise ValueError(f"{missing[0]}: is missing")
        return cls(**given)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of its SSH server."""
        host, colon, port = self.endpoint.rpartition(":")
        return (host, int(port)) if colon else (self.endpoint, 22)


def describe(backends: list[Backend]) -> str:
    """The value of PRIMAGE_BACKENDS."""
    return json.dumps([asdict(backend) for backend in backends])


def backends_of(text: str) -> tuple[Backend, ...]:
    """The backends that PRIMAGE_BACKENDS describes.

    Raises:
        ValueError: anything in it is not as it must be; says what and where.
    """
    given: Any = json.loads(text)
    if not isinstance(given, list):
        raise ValueError("must be a JSON list")
    found = []
    for number, item in enumerate(given):
        if not isinstance(item, dict):
            raise ValueError(f"$[{number}]: must be a mapping")
        try:
            found.append(Backend.of(item))
        except ValueError as error:
            raise ValueError(f"$[{number}].{error}") from error
    if len({backend.name for backend in found}) != len(found):
        raise ValueError("two backends have the same name")
    return tuple(found)


def backend_object(name: str) -> str:
    """Name of a backend's config map, which is for people, and of the Secret with its credentials."""
    return f"backend-{name}"


def digest_of(data: Mapping[str, str]) -> str:
    """SHA-256 of a config map's data, by which the connector knows that nobody has put another in its place."""
    return hashlib.sha256(json.dumps(dict(data), sort_keys=True).encode()).hexdigest()


def log_folder(job: str, uid: str) -> str:
    """Below HOME/private, the folder that keeps a job's output; a later job of the same name has another.

    Args:
        uid: of the Kubernetes Job.
    """
    return f"jobs/{job}/{uid[:8]}"


def log_file(job: str, uid: str, attempt: int) -> str:
    """Below HOME/private, the file that keeps an attempt's output: complete before that of the next attempt begins."""
    return f"{log_folder(job, uid)}/{attempt}.log"
