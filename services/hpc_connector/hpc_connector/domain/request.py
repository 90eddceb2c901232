"""What a Job and its config map ask of an HPC centre."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hpc_connector.domain.errors import RefusedError
from hpc_connector.domain.text import readable
from primage.contract.hpc import ANNOTATIONS, LONGEST_PERIOD_S, NO_IMAGE, PARTITION, PATH_BYTES, PERIOD_S
from primage.contract.quantities import InvalidQuantityError, parse_quantity

TOO_LONG = "tooLong"
"""Put into the specification of a Job that is longer than REQUEST_BYTES, which is not kept."""
LEFT_OUT_FOR_NOW = "leftOutForNow"
"""Put into the specification of one that is not kept as long as others of its namespace take too much."""
MOST_TRIES = 100
"""Highest backoffLimit and one: more than this many failures of one program are not bad luck."""
REQUEST_BYTES = 128 * 1024
"""Of a Job, and of its config map: each is held in memory as long as the job is, and programs longer than that belong in HOME."""
MOST_PATHS = 1000
"""Inputs or outputs a job names: more are better named as one folder."""
LONGEST_S = 366 * 86400
"""Longest deadline of a job: no partition runs one longer, and greater numbers are beyond what Slurm counts in."""


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
        cpus=_amount(amounts.get("cpu", "0")),
        memory_mib=_amount(amounts.get("memory", "0"), 2**20),
        gpus=_amount(amounts.get("nvidia.com/gpu", "0")),
        seconds=seconds,
        inputs=_paths(paper.inputs),
        outputs=_paths(paper.outputs),
        period_s=_period(data.get("monitoring_period", str(PERIOD_S))),
        tries=tries,
    )


def slim(job: dict[str, Any]) -> dict[str, Any]:
    """A Job as it is kept in memory: without what nobody reads, and of one that is too long, without what makes it so."""
    job["metadata"].pop("managedFields", None)
    return shortened(job) if len(json.dumps(job)) > REQUEST_BYTES else job


def shortened(job: dict[str, Any], *, for_now: bool = False) -> dict[str, Any]:
    """A Job that cannot be kept in memory, without all that anybody may make long; it can be ended, and not be run.

    Args:
        for_now: since others take too much, and not since it is too long itself.
    """
    meta = {key: value for key, value in job["metadata"].items() if key not in {"annotations", "labels"}}
    ours = {key: value[:PATH_BYTES] for key, value in (job["metadata"].get("annotations") or {}).items() if key in ANNOTATIONS}
    spec = {**job["spec"], "template": {"spec": {"containers": []}}}
    spec[LEFT_OUT_FOR_NOW if for_now else TOO_LONG] = True
    return {**job, "metadata": {**meta, "annotations": ours}, "spec": spec}


class _PaperJob(msgspec.Struct):
    """Figure 8's `job`: its host and script, and what we add."""

    host: str
    script: str
    inputs: list[str] = []
    outputs: list[str] = []
    partition: Annotated[str, Meta(pattern=rf"\A{PARTITION}\Z", max_length=200)] = ""


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
            raise RefusedError("Unfit", f"{readable(value, 200)!r} is not a path below HOME/private")
        found.append(text)
    return tuple(found)


def is_output(path: str, outputs: tuple[str, ...]) -> bool:
    """Whether a path that an HPC machine names is one of the named outputs, or in one of them."""
    pure = PurePosixPath(path)
    return str(pure) == path and ".." not in pure.parts and any(pure.is_relative_to(output) for output in outputs)


def _period(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{1,6})?", text, re.ASCII):
        raise RefusedError("Unfit", f"monitoring_period {readable(text, 80)!r} is not a number of seconds")
    return min(max(1.0, float(text)), LONGEST_PERIOD_S)


def _amount(text: object, unit: int = 1) -> int:
    """A quantity in whole units, rounded up; raises RefusedError."""
    try:
        return math.ceil(parse_quantity(str(text)) / unit)
    except InvalidQuantityError as error:
        raise RefusedError("Unfit", readable(str(error), 200)) from error
