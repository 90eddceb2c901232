"""A state as it is written: one JSON document of this form, bounded in size whoever wrote it."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue

from primage.engine.embedded import state_v1
from primage.engine.embedded.state import Dynamic, Entry, Part, StackState, Text, fault, of_another_version
from primage.engine.ownership import Scope
from primage.errors import PrimageError

VERSION = 2
ANOTHER_VERSION = (
    "a newer or another version of primage has probably written it: use that version's checkout, or update this one, and run the "
    "command again; leave the state as it is"
)
"""What to do about a state that has more than this version knows."""
_DEEPEST = 24
_LONGEST = 16_384


@dataclass(frozen=True)
class Limits:
    """The most a state may be, so that reading one costs little whoever wrote it.

    Attributes:
        size: bytes, as JSON.
        values: mappings, lists and plain values in it, all counted.
        entries: resources.
    """

    size: int
    values: int
    entries: int


RUN = Limits(size=256 * 1024, values=10_000, entries=200)
"""A run has about ten resources, each of less than a kilobyte."""
FILE = Limits(size=32 * 1024 * 1024, values=1_000_000, entries=20_000)


class _Document(Part):
    """A state as it is written."""

    version: Literal[2]
    written: float
    stack: Text
    resources: dict[str, Entry]
    outputs: dict[str, JsonValue]
    secret_outputs: list[Text]


@dataclass(frozen=True)
class Form:
    """How a stack's state is read and written.

    Attributes:
        stack: whose it must be.
        where: its file or Secret, for errors.
        limits: the most it may be.
        scope: where its objects may be.
    """

    stack: str
    where: str
    limits: Limits
    scope: Scope

    def write(self, state: StackState) -> bytes:
        """The state as it is kept.

        Raises:
            PrimageError: it could not be read back.
        """
        try:
            document = _Document(version=VERSION, written=time.time(), **vars(state))
            text = document.model_dump_json(indent=1).encode()
            _require_bounded(document.model_dump(), self.limits)
        except ValueError as error:
            raise self.damaged("written", fault(error), "make the stack's names and outputs shorter or fewer") from error
        if len(text) > self.limits.size:
            raise self.damaged("written", f"it would have {len(text)} bytes", "have the program output less, or split the stack")
        return text

    def read(self, text: bytes) -> StackState:
        """Read it back; one of the old form becomes one of this form.

        Raises:
            PrimageError: it is damaged, newer than this program, another stack's, too large, or names what the stack
                cannot own.
        """
        try:
            document = self._document(text)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self.damaged("read", fault(error), ANOTHER_VERSION if of_another_version(error) else "") from error
        if document.stack != self.stack:
            raise self.damaged("read", f"it says it is the state of {document.stack or 'no stack'}, not of {self.stack}")
        if len(document.resources) > self.limits.entries:
            raise self.damaged("read", f"it has {len(document.resources)} resources, and at most {self.limits.entries} are read")
        for urn, entry in document.resources.items():
            if urn != entry.urn:
                raise self.damaged("read", f"the resource under {urn[:200]!r} calls itself another")
            if why := self._objection(entry):
                raise self.damaged("read", f"it names {entry.label}, which {why}")
        return StackState(document.stack, dict(document.resources), dict(document.outputs), list(document.secret_outputs))

    def _document(self, text: bytes) -> _Document:
        if len(text) > self.limits.size:
            raise ValueError(f"it has more than {self.limits.size} bytes")
        body = json.loads(text.decode(), parse_constant=_refuse_constant)
        _require_bounded(body, self.limits)
        if not isinstance(body, dict):
            raise ValueError("it is not a mapping")
        version = body.get("version")
        if isinstance(version, bool) or not isinstance(version, int):
            raise ValueError("it does not say its version")
        if version > VERSION:
            raise PrimageError(
                "the state was written by a newer primage",
                where=self.where,
                todo="use that version's checkout, or update this one; leave the state as it is",
            )
        return _Document.model_validate(state_v1.upgraded(body, self.where) if version == 1 else body)

    def _objection(self, entry: Entry) -> str:
        if entry.ref is not None:
            return self.scope.objection(entry.ref)
        kept = entry.dynamic or Dynamic()
        spaces = {str(part["namespace"]) for part in (kept.inputs, kept.outputs) if "namespace" in part}
        return "is not in the stack's own namespace" if self.scope.namespace and spaces != {self.scope.namespace} else ""

    def damaged(self, verb: str, why: str, todo: str = "") -> PrimageError:
        """The error for a state that cannot be read or written."""
        return PrimageError(
            f"the state of stack {self.stack} cannot be {verb}: {why}",
            where=self.where,
            todo=todo
            or "find out who wrote it; restore it from a backup, or delete it and run `primage up`: objects that are the "
            "stack's own are recognised by their label and taken over, and nothing is deleted",
        )


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _require_bounded(body: Any, limits: Limits) -> None:
    """Refuse what would cost much to look at: depth, numbers of values, long strings, numbers that are none."""
    left, seen = [(body, 0)], 0
    while left:
        value, depth = left.pop()
        seen += 1
        if depth > _DEEPEST:
            raise ValueError(f"it is more than {_DEEPEST} levels deep")
        if isinstance(value, str) and len(value) > _LONGEST:
            raise ValueError(f"a text in it is longer than {_LONGEST} characters")
        if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) < 2**63):
            raise ValueError("a number in it is out of bounds")
        inside: list[Any] = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
        if seen + len(left) + len(inside) > limits.values:
            raise ValueError(f"it holds more than {limits.values} values")
        left += [(item, depth + 1) for item in inside]
