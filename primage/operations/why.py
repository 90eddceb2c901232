"""Why something waits or failed: the scheduler's, kubelet's and controllers' own verdicts, in a person's words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from primage.clients.cluster import Cluster, Object, Ref
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.readiness import State
from primage.kubernetes.waiting import MOST_LINES, MOST_SHOWN, last_event, last_words, state_now, why
from primage.operations.site import usual_site
from primage.operations.stack import stack_handle
from primage.projects.project import parse_stack_name

KINDS = {
    "deployment": ("apps/v1", "Deployment"),
    "job": ("batch/v1", "Job"),
    "pod": ("v1", "Pod"),
    "pvc": ("v1", "PersistentVolumeClaim"),
    "statefulset": ("apps/v1", "StatefulSet"),
}


@dataclass(frozen=True)
class Answer:
    """About one object.

    Attributes:
        state: `ready`, `waiting`, `failed` or `missing`.
        reason: why.
        todo: the next step.
        lines: the last that the newest pod of something that failed wrote.
    """

    object: str
    state: str
    reason: str = ""
    todo: str = ""
    lines: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def explain(thing: str) -> list[Answer]:
    """Answers for a stack's objects that are not ready, or for one object (`job/<namespace>/<name>`)."""
    parts = thing.split("/")
    if len(parts) == 3:
        if parts[0].lower() not in KINDS:
            raise PrimageError(f"{parts[0]!r} is none of {', '.join(KINDS)}", code=ExitCode.USAGE)
        api_version, kind = KINDS[parts[0].lower()]
        return [explain_object(usual_site().cluster, Ref(api_version, kind, parts[2], parts[1]))]
    stack = stack_handle(parse_stack_name(thing))
    found = stack.objects()
    if not found:
        return [Answer(thing, "missing", "nothing of it is on the cluster: it is not up", f"run `primage up {thing}`")]
    waiting = [_explain(stack.cluster, obj) for obj in found if state_now(stack.cluster, obj).state is not State.READY]
    return waiting or [Answer(thing, "ready", f"all {len(found)} objects are")]


def explain_object(cluster: Cluster, ref: Ref) -> Answer:
    """One object, from its own state, its pods and its last event."""
    live = cluster.get(ref)
    if live is None:
        return Answer(str(ref), "missing", "it is not on the cluster", "run `primage up` for the stack it belongs to")
    return _explain(cluster, live)


def _explain(cluster: Cluster, live: Object) -> Answer:
    ref, own = Ref.of(live), state_now(cluster, live)
    if own.state is State.READY:
        return Answer(str(ref), "ready")
    cause = why(cluster, ref) if own.state is State.WAITING else None
    told = cause or own
    words = last_words(cluster, ref) if own.state is State.FAILED else None
    event = last_event(cluster, ref).removeprefix(". ")
    # An HPC job's own end tells what it wrote, line by line.
    detail, *more = told.detail.splitlines() or [""]
    said = (detail, words.ended if words else "", "" if words and words.lines else event)
    lines = [line.strip()[:MOST_SHOWN] for line in more[-MOST_LINES:]] + list(words.lines if words else ())
    return Answer(str(ref), told.state.value, ". ".join(part for part in said if part), told.todo, tuple(lines))
