"""What Pulumi is at, from its event log; and what Pulumi does not tell: why an object is not ready, and since when."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from primage.clients.cluster import Cluster, Object, Ref, Refused
from primage.engine.api import MASK, Action, Change, FieldChange, Options
from primage.engine.api import Event as Told
from primage.errors import PrimageError
from primage.kubernetes.amounts import makes_pods
from primage.kubernetes.annotations import TIMEOUT, annotation
from primage.kubernetes.readiness import State, Verdict, verdict
from primage.kubernetes.waiting import last_event, why

LOOK_S = 2.0
"""How often the cluster is asked about what is not ready."""
SILENT_S = 180.0
"""How long Pulumi may say nothing while nothing is under way: it says something for each step of a program."""
PROVIDER_ENDS_S = 30
"""How much later than a limit of its own an object is given up here: Pulumi's provider does that itself, and says more."""
_ACTIONS = {
    "create": Action.CREATE,
    "create-replacement": Action.REPLACE,
    "delete": Action.DELETE,
    "delete-replaced": Action.REPLACE,
    "discard-replaced": Action.REPLACE,
    "import-replacement": Action.REPLACE,
    "read-replacement": Action.REPLACE,
    "replace": Action.REPLACE,
    "same": Action.SAME,
    "update": Action.UPDATE,
}
_MADE = frozenset({"create", "create-replacement", "update"})
_REMOVED = frozenset({"delete", "delete-replaced"})
_OURS = ("kubernetes:", "pulumi-python:")
FAILED_S = 10.0
"""How long Pulumi's provider has to notice a failure itself: of some, such as a pod failure policy's, it never does."""
_COLOUR = re.compile(r"<\{%[^%]*%\}>")
_STEP = re.compile(r'\.?([^.\[\]"]+)|\["([^"]+)"\]|\[(\d+)\]')


@dataclass
class _Pending:
    """A step that has begun and not ended."""

    label: str
    ref: Ref | None
    removed: bool
    limit_s: float
    since: float
    reason: str = ""
    failed: Verdict | None = None
    failed_since: float = 0.0


class Watch:
    """Follows one operation.

    Attributes:
        changes: by URN, of what is an object or a dynamic provider's.
        timings: per label, epoch seconds of `submitted` and `ready`.
        errors: what Pulumi and its providers said went wrong, each with the object's label where it is one's.
        jobs: by URN, Jobs with pods that are made or replaced, as the program declares them.
    """

    def __init__(self, options: Options, connect: Callable[[], Cluster], *, really: bool) -> None:
        self.changes: dict[str, Change] = {}
        self.timings: dict[str, dict[str, float]] = {}
        self.errors: list[str] = []
        self.jobs: dict[str, Object] = {}
        self._options = options
        self._connect = connect
        self._really = really
        self._pending: dict[tuple[str, str], _Pending] = {}
        self._labels: dict[str, str] = {}
        self._heard = self._looked = time.monotonic()

    def hear(self, event: dict[str, Any]) -> None:
        """One event of Pulumi's log."""
        self._heard = time.monotonic()
        if "resourcePreEvent" in event:
            self._began(event["resourcePreEvent"]["metadata"])
        elif "resOutputsEvent" in event:
            self._ended(event["resOutputsEvent"]["metadata"], "ready")
        elif "resOpFailedEvent" in event:
            self._ended(event["resOpFailedEvent"]["metadata"], "failed")
        elif event.get("diagnosticEvent", {}).get("severity") == "error":
            said = event["diagnosticEvent"]
            label = self._labels.get(said.get("urn", ""), "")
            text = _COLOUR.sub("", said.get("message", "")).strip()
            self.errors.append(f"{label}: {text}" if label else text)

    def tick(self) -> PrimageError | None:
        """Tell why things wait, now and then; the error to give up with where one has waited too long."""
        if self._options.given_up.is_set():
            return PrimageError("it was given up", todo="run the same command again")
        now = time.monotonic()
        if self._really and self._pending and now - self._looked >= LOOK_S:
            self._looked = now
            for pending in list(self._pending.values()):
                self._look(pending)
        for pending in self._pending.values():
            if pending.failed and now - pending.failed_since > FAILED_S:
                return PrimageError(f"{pending.label} failed: {pending.failed.detail}", todo=pending.failed.todo)
            if now - pending.since > pending.limit_s:
                return self._overdue(pending)
        if not self._pending and now - self._heard > SILENT_S:
            return PrimageError(
                f"Pulumi has said nothing for {SILENT_S:.0f} s, with nothing under way",
                todo="see whether the site's API server and the backend of `pulumi login` answer, then run the same command again",
            )
        return None

    def _began(self, step: dict[str, Any]) -> None:
        label = self._labels[step["urn"]] = _label(step)
        if not step["type"].startswith(_OURS):
            return
        change = _change(step, label)
        self.changes[change.urn] = _heavier(self.changes.get(change.urn), change)
        inputs = _inputs(step)
        if step["op"] in _MADE - {"update"} and makes_pods(inputs):
            self.jobs[step["urn"]] = inputs
        if not self._really or step["op"] not in _MADE | _REMOVED:
            return
        limit = float(annotation(inputs, TIMEOUT) or 0) if step["op"] in _MADE else 0.0
        self._pending[step["urn"], step["op"]] = _Pending(
            label=label,
            ref=_ref(inputs),
            removed=step["op"] in _REMOVED,
            limit_s=limit + PROVIDER_ENDS_S if limit else self._options.timeout_s,
            since=time.monotonic(),
        )
        if step["op"] in _MADE:
            self.timings.setdefault(label, {})["submitted"] = time.time()
        self._options.listener(Told(label, "deleting" if step["op"] in _REMOVED else _doing(step["op"])))

    def _ended(self, step: dict[str, Any], how: str) -> None:
        pending = self._pending.pop((step["urn"], step["op"]), None)
        if pending is None:
            return
        state = "deleted" if pending.removed and how == "ready" else how
        if state == "ready":
            self.timings.setdefault(pending.label, {})["ready"] = time.time()
        self._options.listener(Told(pending.label, state))

    def _look(self, pending: _Pending) -> None:
        """Ask the cluster; that it cannot be asked just now is Pulumi's own to report."""
        if pending.ref is None:
            return
        try:
            pending.reason, now = _reason(self._connect(), pending.ref, removed=pending.removed)
        except (PrimageError, Refused):
            return
        failed = now if now and now.state is State.FAILED else None
        if failed and not pending.failed:
            pending.failed_since = time.monotonic()
        pending.failed = failed
        if pending.reason:
            self._options.listener(Told(pending.label, "deleting" if pending.removed else "waiting", pending.reason))

    def _overdue(self, pending: _Pending) -> PrimageError:
        event = ""
        if pending.ref is not None:
            try:
                event = last_event(self._connect(), pending.ref)
            except (PrimageError, Refused):
                event = ""
        state = "still there" if pending.removed else "not ready"
        return PrimageError(
            f"{pending.label} is {state} after {pending.limit_s:.0f} s: {pending.reason or 'no reason given'}{event}",
            todo=f"see `primage why` for it; give it longer with --timeout, or with the annotation {TIMEOUT}",
        )


def deletion(resource: dict[str, Any]) -> Change | None:
    """The deletion of a resource that is noted in a stack; None for what is no object and no dynamic provider's."""
    if not resource["type"].startswith(_OURS):
        return None
    step = {"op": "delete", "urn": resource["urn"], "type": resource["type"], "old": resource}
    return _change(step, _label(step))


def _reason(cluster: Cluster, ref: Ref, *, removed: bool) -> tuple[str, Verdict | None]:
    """Why an object is not ready, or not gone; empty when it is, or when nothing is known. Of one that is not to go, its state."""
    live = cluster.get(ref)
    if live is None:
        return "" if removed else "not there yet", None
    if removed:
        held = ", ".join(live["metadata"].get("finalizers") or [])
        return f"terminating; held by {held}" if held else "terminating", None
    own = verdict(live)
    if own.state is State.READY:
        return "", own
    return (why(cluster, ref) or own).detail, own


def _doing(op: str) -> str:
    return "updating" if op == "update" else "creating"


def _heavier(before: Change | None, now: Change) -> Change:
    """Of the steps that one resource goes through, the one that says most: a replacement is a creation and a deletion too."""
    return before if before and before.action in (Action.REPLACE, Action.DELETE) else now


def _change(step: dict[str, Any], label: str) -> Change:
    action = _ACTIONS.get(step["op"], Action.UPDATE)
    fields = tuple(_field(step, path) for path in sorted(step.get("detailedDiff") or {}))
    reason = f"changed: {', '.join(step.get('keys') or [])}" if action is Action.REPLACE and step.get("keys") else ""
    return Change(step["urn"], label, action, fields, reason)


def _field(step: dict[str, Any], path: str) -> FieldChange:
    old, new = (step.get(side) or {} for side in ("old", "new"))
    before, after = (_at(side.get("inputs") or {}, path) for side in (old, new))
    if before is None:
        before = _at(old.get("outputs") or {}, path)
    if step["type"].endswith(":Secret") and path.startswith(("data", "stringData")):
        before, after = (None if value is None else MASK for value in (before, after))
    return FieldChange(path, before, after)


def _at(value: Any, path: str) -> Any:
    """The value at a path as Pulumi writes them: `spec.containers[0].image`, `metadata.labels["a.b/c"]`."""
    for name, quoted, index in _STEP.findall(path):
        if index and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        elif not index and isinstance(value, dict):
            value = value.get(name or quoted)
        else:
            return None
    return value


def _inputs(step: dict[str, Any]) -> dict[str, Any]:
    inputs = (step.get("new") or step.get("old") or {}).get("inputs") or {}
    return inputs if isinstance(inputs.get("metadata"), dict) else {**inputs, "metadata": {}}


def _ref(inputs: dict[str, Any]) -> Ref | None:
    meta = inputs["metadata"]
    parts = [inputs.get("apiVersion"), inputs.get("kind"), meta.get("name"), meta.get("namespace", "")]
    return Ref(*parts) if all(isinstance(part, str) for part in parts) else None


def _label(step: dict[str, Any]) -> str:
    ref = _ref(_inputs(step))
    return str(ref) if ref else f"{step['type'].rsplit(':', 1)[-1]} {step['urn'].rsplit('::', 1)[-1]}"
