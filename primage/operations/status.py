"""How a standing stack's objects are right now."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from primage.clients.cluster import Cluster, Object, Ref, is_leaving
from primage.kubernetes.readiness import State
from primage.kubernetes.waiting import state_now, why
from primage.operations.stack import StackHandle

LEAVING = "leaving"
HIDDEN = "hidden"
MOST_EXPLAINED = 20
"""How many waiting objects are explained: each takes several requests, and tenants may make many."""


@dataclass(frozen=True)
class Row:
    """One object, or one kind that may not be listed.

    Attributes:
        object: its kind and address.
        state: `ready`, `waiting`, `failed`, `leaving` (it is being deleted) or `hidden`.
        detail: why.
    """

    object: str
    state: str
    detail: str = ""

    def as_dict(self) -> dict[str, str]:
        """For `--json`."""
        return asdict(self)


def status_of(stack: StackHandle) -> list[Row]:
    """Every object of the stack; none where it is not up."""
    found, hidden = stack.look()
    rows = [_row(stack.cluster, obj) for obj in found]
    waiting = [number for number, row in enumerate(rows) if row.state == State.WAITING.value]
    for number in waiting[:MOST_EXPLAINED]:
        # What its pods say tells more than "waiting", and `primage why` says the same.
        if told := why(stack.cluster, Ref.of(found[number])):
            rows[number] = Row(rows[number].object, told.state.value, told.detail)
    return [*rows, *(Row(kind, HIDDEN, "you may not list these") for kind in hidden)]


def _row(cluster: Cluster, obj: Object) -> Row:
    label = str(Ref.of(obj))
    if is_leaving(obj):
        held = ", ".join(map(str, obj["metadata"].get("finalizers") or []))
        return Row(label, LEAVING, f"held by {held}" if held else "")
    said = state_now(cluster, obj)
    return Row(label, said.state.value, said.detail)
