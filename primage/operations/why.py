"""Why something waits: the scheduler's, kubelet's and controllers' own verdicts, in a person's words."""

from __future__ import annotations

from dataclasses import dataclass

from primage.clients.cluster import Cluster, Ref
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.readiness import State, verdict
from primage.kubernetes.waiting import last_event, why
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
    """About one object: `ready`, `waiting`, `failed` or `missing`, why, and what to do."""

    object: str
    state: str
    reason: str = ""
    todo: str = ""


def explain(thing: str) -> list[Answer]:
    """Answers for a stack's objects that are not ready, or for one object (`job/<namespace>/<name>`)."""
    parts = thing.split("/")
    engine = EmbeddedEngine()
    if len(parts) == 3:
        if parts[0].lower() not in KINDS:
            raise PrimageError(f"{parts[0]!r} is none of {', '.join(KINDS)}", code=ExitCode.USAGE)
        api_version, kind = KINDS[parts[0].lower()]
        return [explain_object(engine.default_cluster(), Ref(api_version, kind, parts[2], parts[1]))]
    pending = [(entry.ref, cluster) for entry, cluster in engine.owned(parse_stack_name(thing)) if entry.ref and cluster]
    if not pending:
        return [Answer(thing, "missing", "it owns nothing: it is not up", f"run `primage up {thing}`")]
    answers = [explain_object(cluster, ref) for ref, cluster in pending]
    waiting = [answer for answer in answers if answer.state != State.READY.value]
    return waiting or [Answer(thing, "ready", f"all {len(answers)} objects are")]


def explain_object(cluster: Cluster, ref: Ref) -> Answer:
    """One object, from its own state, its pods and its last event."""
    live = cluster.get(ref)
    if live is None:
        return Answer(str(ref), "missing", "it is not on the cluster", "run `primage up` for the stack it belongs to")
    own = verdict(live)
    if own.state is State.READY:
        return Answer(str(ref), "ready")
    cause = why(cluster, ref) if own.state is State.WAITING else None
    told = cause or own
    event = last_event(cluster, ref).removeprefix(". ")
    return Answer(str(ref), told.state.value, ". ".join(part for part in (told.detail, event) if part), told.todo)
