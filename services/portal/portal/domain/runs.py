"""What runs in a namespace, from the labels of its Jobs: stack by stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from primage.contract.addresses import base_path
from primage.contract.gateway import LOGIN_CONTAINER
from primage.contract.hpc import MANAGER
from primage.contract.names import LABEL_COMPONENT, LABEL_QUEUE, LABEL_STACK, stack_label
from primage.kubernetes.annotations import opens

PAGE = 50
LONGEST_RUN = 20


@dataclass(frozen=True)
class Progress:
    """One Job.

    Attributes:
        state: running, waiting, done, failed, suspended or leaving.
        done, wanted: completions; wanted is 0 where that is not said.
        page: of a session with a login before it, the path that opens in a browser; otherwise empty.
        queue: whether it works on a queue.
        hpc: whether it runs at an HPC centre: no pod writes for it.
    """

    job: str
    part: str
    state: str
    done: int
    wanted: int
    begun: str
    detail: str = ""
    page: str = ""
    queue: bool = False
    hpc: bool = False

    @property
    def says(self) -> str:
        """How far it is."""
        return f"{self.done} of {self.wanted}" if self.wanted > 1 else ""


@dataclass(frozen=True)
class Run:
    """One stack's Jobs, the oldest first.

    Attributes:
        label: what its objects carry, which is what it goes by here.
    """

    label: str
    jobs: tuple[Progress, ...]

    @property
    def state(self) -> str:
        """The one that says most of them all."""
        states = {job.state for job in self.jobs}
        return next((state for state in ORDER if state in states), "waiting")

    @property
    def begun(self) -> str:
        """When the first was made."""
        return min((job.begun for job in self.jobs), default="")

    @property
    def says(self) -> str:
        """How far the last is."""
        return next((job.says for job in reversed(self.jobs) if job.says), "")


ORDER = ("failed", "leaving", "running", "waiting", "suspended", "done")


def progress_of(job: Mapping[str, Any]) -> Progress:
    """Of one Job: what its own status says. Labels and numbers are whoever's who made it, and nothing depends on them."""
    metadata, spec, status = job.get("metadata") or {}, job.get("spec") or {}, job.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or [] if c.get("status") == "True"}
    if metadata.get("deletionTimestamp"):
        state = "leaving"
    elif "Complete" in conditions or "SuccessCriteriaMet" in conditions:
        state = "done"
    elif "Failed" in conditions or "FailureTarget" in conditions:
        state = "failed"
    elif spec.get("suspend"):
        state = "suspended"
    else:
        state = "running" if _number(status.get("ready")) else "waiting"
    why = conditions.get("Failed") or conditions.get("FailureTarget") or {}
    return Progress(
        job=str(metadata.get("name", "")),
        part=str((metadata.get("labels") or {}).get(LABEL_COMPONENT, "")),
        state=state,
        done=_number(status.get("succeeded")),
        wanted=_number(spec.get("completions")),
        begun=str(metadata.get("creationTimestamp", "")),
        detail=str(why.get("message", "")),
        page=_page(job) if _has_login(spec) else "",
        queue=LABEL_QUEUE in (metadata.get("labels") or {}),
        hpc=spec.get("managedBy") == MANAGER,
    )


def _has_login(spec: Mapping[str, Any]) -> bool:
    """Whether a Job is a session that opens in a browser. Where it opens is for the site's own settings to say."""
    pod = (spec.get("template") or {}).get("spec") or {}
    return any(container.get("name") == LOGIN_CONTAINER for container in pod.get("initContainers") or [])


def _page(job: Mapping[str, Any]) -> str:
    """The path that a session opens with: what its Job says, where that is below the session's own."""
    own, said = base_path(str(job["metadata"].get("name", ""))), opens(job)
    return said[1] if said and said[1].startswith(own) else own


def runs_of(jobs: Iterable[Mapping[str, Any]]) -> list[Run]:
    """Stacks, the newest first; Jobs of no stack are not among them."""
    found: dict[str, list[Progress]] = {}
    for job in jobs:
        if label := str((job["metadata"].get("labels") or {}).get(LABEL_STACK, "")):
            found.setdefault(label, []).append(progress_of(job))
    runs = [Run(label, tuple(sorted(parts, key=lambda part: (part.begun, part.job)))) for label, parts in found.items()]
    return sorted(runs, key=lambda run: (run.begun, run.label), reverse=True)


def stack_named(label: str, jobs: Iterable[str], owner: str, vos: Iterable[str], site: str) -> str:
    """The name of somebody's own stack with this label; empty where that cannot be told.

    A label that would be too long ends in a checksum. What a run is called is part of what its Jobs are called, and whether it is
    the right part says the label.

    Args:
        jobs: names of its Jobs.
        owner: the namespace.
    """
    app = label.partition("_")[0]
    runs = {""} | {run for job in jobs for run in _parts(job)}
    names = (f"{app}/{owner}_{vo}.{site}" + (f"--{run}" if run else "") for vo in vos for run in sorted(runs))
    return next((name for name in names if stack_label(name) == label), "")


def _parts(job: str) -> set[str]:
    words = job.split("-")
    several = ("-".join(words[begin:end]) for begin in range(len(words)) for end in range(begin + 1, len(words) + 1))
    return {part for part in several if 0 < len(part) <= LONGEST_RUN}


def labels_in_order(made: Iterable[tuple[str, str]]) -> list[str]:
    """Labels of stacks, the newest first, each as old as the oldest of its Jobs.

    Args:
        made: of each Job its stack's label, and when it was made.
    """
    begun: dict[str, str] = {}
    for label, when_made in made:
        if begun.get(label, when_made) >= when_made:
            begun[label] = when_made
    return sorted(begun, key=lambda label: (begun[label], label), reverse=True)


def page_of(labels: list[str], number: int) -> tuple[list[str], int, int]:
    """One page of them, its number, and how many there are."""
    pages = max(1, -(-len(labels) // PAGE))
    number = min(max(1, number), pages)
    return labels[(number - 1) * PAGE : number * PAGE], number, pages


def when(stamp: str) -> str:
    """A time of Kubernetes', for people."""
    try:
        return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return "?"


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
