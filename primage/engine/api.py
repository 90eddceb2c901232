"""The engines' common face: what is asked of one, how it is to go, and what it says about a stack, field by field."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from primage.projects.project import StackName

MASK = "[secret]"
"""Stands for a value that is never shown."""


class Action(StrEnum):
    """What happens, or would happen, to one resource."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    SAME = "same"
    DELETE = "delete"
    KEEP = "keep"
    """Left the program but is retained (`retain_on_delete`)."""


@dataclass(frozen=True)
class FieldChange:
    """One field, as a dotted path; `before` or `after` is None where the field is absent there."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Change:
    """One resource of the stack.

    Attributes:
        urn: Pulumi's name for the resource.
        label: what a person calls it: `ConfigMap vo-dot-primage-dot-eu/primage-configmap`.
        action: what happens to it.
        fields: for an update, every field that changes; secrets are masked.
        reason: why, where more than the fields tells it.
        refused: why `up` and `destroy` refuse all of it rather than do this; empty when they do it.
        protected: whether they refuse it because it is protected.
    """

    urn: str
    label: str
    action: Action
    fields: tuple[FieldChange, ...] = ()
    reason: str = ""
    refused: str = ""
    protected: bool = False


@dataclass(frozen=True)
class Event:
    """Progress on one resource, for whoever watches."""

    label: str
    state: str
    detail: str = ""


Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Result:
    """The end of a preview, up or destroy.

    Attributes:
        changes: every resource of the stack, in dependency order.
        outputs: the stack's outputs; secret ones are masked.
        seconds: how long it took.
        timings: per resource label, epoch seconds of `submitted` and `ready`.
    """

    stack: str
    changes: tuple[Change, ...]
    outputs: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    timings: dict[str, dict[str, float]] = field(default_factory=dict)

    def changed(self) -> list[Change]:
        """Those that are not the same."""
        return [change for change in self.changes if change.action not in (Action.SAME, Action.KEEP)]

    def refused(self) -> list[Change]:
        """Those for whose sake `up` refuses everything."""
        return [change for change in self.changes if change.refused]

    def counts(self) -> dict[str, int]:
        """How many resources each action applies to; actions that apply to none are left out."""
        counted = {action.value: sum(c.action is action for c in self.changes) for action in Action}
        return {name: number for name, number in counted.items() if number}

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "stack": self.stack,
            "seconds": round(self.seconds, 3),
            "counts": self.counts(),
            "refused": [change.label for change in self.refused()],
            "changes": [asdict(change) for change in self.changes if change.action is not Action.SAME],
            "outputs": self.outputs,
            "timings": self.timings,
        }


def silent(_: Event) -> None:
    """A listener for who does not watch."""


@dataclass(frozen=True)
class Options:
    """How an operation is to go.

    Attributes:
        overrides: settings in place of those in the stack's file, by dotted path (`job.image`).
        listener: told of progress on each resource, from many threads.
        timeout_s: how long one object may take to get ready where nothing else says.
        given_up: set by who no longer wants it: the operation ends with an error as soon as it can.
    """

    overrides: Mapping[str, Any] = field(default_factory=dict)
    listener: Listener = silent
    timeout_s: float = 600.0
    given_up: threading.Event = field(default_factory=threading.Event, compare=False)


class Engine(Protocol):
    """Makes a stack what its program declares."""

    @property
    def at_a_time(self) -> int:
        """How many stacks one process may have it work on side by side."""

    def preview(self, name: StackName, options: Options) -> Result:
        """What `up` would change; nothing is changed."""

    def up(self, name: StackName, options: Options) -> Result:
        """Apply it, wait until it is ready, remove what left the program."""

    def destroy(self, name: StackName, options: Options) -> Result:
        """Remove everything the stack owns."""

    def outputs(self, name: StackName) -> dict[str, Any]:
        """The stack's outputs, secret ones masked."""
