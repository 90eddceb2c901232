"""What a stack owns, written before and after every object, so that a run killed anywhere can be run again.

A file serves operators; a Secret in the run's namespace serves users' runs, so that whoever may see the namespace
sees the same. Both hold the same document: data of a strict schema, bounded in size, and nothing that is executed or
that says where to connect. Whoever may write in a namespace may write its runs' state, so reading it believes nothing
(see ownership.py). No secret is ever in it: values marked secret are masked, and a secret output cannot be read back.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import gzip
import json
import math
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, ValidationError, field_validator, model_validator

from primage.clients.cluster import Cluster, Ref, Refused
from primage.components.dynamic_providers import PREFIX, PROVIDERS
from primage.engine.embedded import state_v1
from primage.engine.embedded.ownership import Scope
from primage.errors import ExitCode, PrimageError
from primage.names import LABEL_MANAGED_BY, LABEL_STACK, stack_label
from primage.projects.project import StackName

VERSION = 2
SECRET_TYPE = "primage.eu/state"  # noqa: S105  # a type of Secrets
CONNECTION = ("kubeconfig", "context")
"""Inputs of dynamic providers that are never kept: a site's own settings say how its cluster is reached."""
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


class Status(StrEnum):
    """How far an object got."""

    APPLYING = "applying"
    """Sent, or about to be; it may or may not be there."""
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
Text = Annotated[str, Field(max_length=1024, pattern=_PRINTABLE)]
Number = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Address(_Part):
    """A `Ref` as it must look to be believed: every part is used in the path of a request."""

    api_version: str = Field(max_length=260, pattern=r"^([a-z0-9][a-z0-9.-]*/)?v[0-9][a-z0-9]*$")
    kind: str = Field(max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")
    name: str = Field(max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$")
    namespace: str = Field(default="", max_length=63, pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$")


def checked_ref(parts: dict[str, Any]) -> Ref:
    """An address that may be used in a request.

    Raises:
        ValueError: it looks like none.
    """
    return Ref(**_Address.model_validate(parts).model_dump())


class Dynamic(_Part):
    """What a dynamic provider made; the provider itself is found by the resource's type.

    Attributes:
        id: as the provider gave it; empty while it is not made.
        inputs, outputs: its properties, secrets masked, without the way to the cluster.
    """

    id: Text = ""
    inputs: dict[str, JsonValue] = {}
    outputs: dict[str, JsonValue] = {}

    @field_validator("inputs", "outputs")
    @classmethod
    def _without_connection(cls, given: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return {key: value for key, value in given.items() if key not in CONNECTION}


class Entry(_Part):
    """One resource a stack owns.

    Attributes:
        order: position in dependency order; deletion goes from the highest down.
        level: distance from resources without dependencies; what shares a level may be deleted together.
        digest: of the object without its secrets; tells whether a Job that finished and was cleaned up is the same.
        dynamic: for a resource of a dynamic provider, in place of `ref`.
    """

    urn: Text
    type: Text
    name: Text
    status: Status
    order: Number
    level: Number
    ref: Ref | None = None
    digest: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    protect: StrictBool = False
    retain: StrictBool = False
    dynamic: Dynamic | None = None

    @field_validator("ref", mode="before")
    @classmethod
    def _address(cls, given: Any) -> Ref | None:
        if given is None or isinstance(given, Ref):
            return given
        return checked_ref(given)

    @model_validator(mode="after")
    def _one_kind(self) -> Entry:
        if (self.ref is None) == (self.dynamic is None):
            raise ValueError("it is to be an object of the cluster or a dynamic provider's, and not both")
        if self.dynamic is not None and self.type not in PROVIDERS:
            raise ValueError(f"no dynamic provider is known for {self.type or 'an empty type'}")
        if self.ref is not None and self.type.startswith(PREFIX):
            raise ValueError(f"{self.type} is no object of the cluster")
        return self

    @property
    def label(self) -> str:
        """What a person calls it."""
        return str(self.ref) if self.ref else f"{self.type} {self.name}"


class _Document(_Part):
    """A state as it is written."""

    version: Literal[2]
    written: float
    stack: Text
    resources: dict[str, Entry]
    outputs: dict[str, JsonValue]
    secret_outputs: list[Text]


@dataclass
class StackState:
    """All a stack owns, and its outputs."""

    stack: str
    resources: dict[str, Entry] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    secret_outputs: list[str] = field(default_factory=list)
    """Names of outputs whose values are not kept."""


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
            raise self.damaged("written", _words(error), "make the stack's names and outputs shorter or fewer") from error
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
            raise self.damaged("read", _words(error)) from error
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
            raise PrimageError("the state was written by a newer primage", where=self.where, todo="use that version")
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


def _words(error: Exception) -> str:
    """One line of what is wrong, short whatever was given."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place[-200:]}: {first['msg'].removeprefix('Value error, ')[:300]}"
    return f"{type(error).__name__}: {str(error)[:300]}" if not isinstance(error, ValueError) else str(error)[:300]


def entry_of(**parts: Any) -> Entry:
    """An entry for what a program declares.

    Raises:
        PrimageError: it could not be read back.
    """
    try:
        return Entry(**parts)
    except ValidationError as error:
        raise PrimageError(
            f"{parts['type']} {parts['name']} cannot be kept in a state: {_words(error)}", todo="change it in the program"
        ) from error


class StateStore(Protocol):
    """Where one stack's state is kept."""

    where: str

    def load(self) -> StackState:
        """The state; an empty one when there is none yet."""

    def save(self, state: StackState) -> None:
        """Replace it, whole or not at all."""

    def text(self, state: StackState) -> bytes:
        """The state as it is kept."""

    def remove(self) -> None:
        """Forget the stack."""

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from changing the stack."""


class FileStore:
    """A file, replaced whole at each write, and a lock beside it."""

    def __init__(self, path: Path, name: StackName) -> None:
        self.path = path
        self.where = str(path)
        self._stack = str(name)
        self._form = Form(self._stack, self.where, FILE, Scope.of(name))

    def load(self) -> StackState:
        """The state; an empty one when there is none yet."""
        try:
            with self.path.open("rb") as stream:
                text = stream.read(FILE.size + 1)
        except FileNotFoundError:
            return StackState(self._stack)
        except OSError as error:
            raise PrimageError(
                f"the state of stack {self._stack} cannot be read ({error.strerror})",
                where=self.where,
                todo="mend the file's rights",
            ) from error
        return self._form.read(text)

    def save(self, state: StackState) -> None:
        """Write to a neighbour, flush to disk, rename: a reader sees the old state or the new one."""
        part = self.path.with_suffix(".part")
        text = self._form.write(state)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with part.open("wb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(self.path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise PrimageError(
                f"the stack's state cannot be written ({error.strerror}); nothing was sent to the cluster after that",
                where=self.where,
                todo="free space or mend the folder's rights, then run the same command again",
            ) from error

    def text(self, state: StackState) -> bytes:
        """The state as it is kept."""
        return self._form.write(state)

    def remove(self) -> None:
        """Forget the stack."""
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the stack for this process; the system lets go when it ends, however it ends."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.path.with_suffix(".lock").open("w", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise PrimageError(
                    f"another process is changing stack {self._stack}",
                    where=self.where,
                    todo="wait for it to end, then try again",
                ) from error
            yield


class SecretStore:
    """A Secret in the run's namespace, gzipped, written only if nobody else wrote in between (as Helm does)."""

    def __init__(self, cluster: Cluster, name: StackName) -> None:
        self._cluster = cluster
        self._ref = Ref("v1", "Secret", f"primage-state.{name.app}.{name.run}", name.namespace)
        self.where = str(self._ref)
        self._stack = str(name)
        self._form = Form(self._stack, self.where, RUN, Scope.of(name))
        self._version = ""

    def load(self) -> StackState:
        """The state; an empty one when there is none yet."""
        try:
            found = self._cluster.get(self._ref)
        except Refused as refusal:
            raise PrimageError(
                f"the run's state was not read: {refusal.message}",
                where=self.where,
                todo="ask the site's operator for the right to read it",
            ) from refusal
        if found is None:
            self._version = ""
            return StackState(self._stack)
        self._version = found["metadata"]["resourceVersion"]
        try:
            text = unpack(found.get("data"), RUN.size)
        except ValueError as error:
            raise self._form.damaged("read", str(error)) from error
        return self._form.read(text)

    def save(self, state: StackState) -> None:
        """Replace the Secret; refused when another run changed it since `load`."""
        data = base64.b64encode(gzip.compress(self._form.write(state), mtime=0)).decode()
        labels = {LABEL_MANAGED_BY: "primage", LABEL_STACK: stack_label(self._stack)}
        metadata: dict[str, Any] = {"name": self._ref.name, "namespace": self._ref.namespace, "labels": labels}
        if self._version:
            metadata["resourceVersion"] = self._version
        body = {"apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE, "metadata": metadata, "data": {"state": data}}
        try:
            saved = self._cluster.apply(body, manager="primage-state", force=True)
        except Refused as refusal:
            raise PrimageError(
                f"the run's state was not written: {refusal.message}",
                where=self.where,
                todo="another run may be changing the same stack: wait for it, then try again",
            ) from refusal
        self._version = saved["metadata"]["resourceVersion"]

    def text(self, state: StackState) -> bytes:
        """The state as it is kept."""
        return self._form.write(state)

    def remove(self) -> None:
        """Forget the run."""
        self._cluster.delete(self._ref, propagation="Background")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Nothing to hold: every write carries the version it is based on."""
        yield


def unpack(data: Any, most: int) -> bytes:
    """What a state's Secret holds, looked at no further than `most` bytes.

    Raises:
        ValueError: it holds something else, or more.
    """
    packed = data.get("state") if isinstance(data, dict) else None
    if not isinstance(packed, str) or set(data) != {"state"}:
        raise ValueError("the Secret does not hold the one key `state`")
    if len(packed) > 2 * most:
        raise ValueError(f"the Secret holds {len(packed)} characters")
    try:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        text = unpacker.decompress(base64.b64decode(packed, validate=True), most + 1)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"it is not base64 of gzip ({error})") from error
    if len(text) > most:
        raise ValueError(f"it has more than {most} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is not one whole gzip member")
    return text


def find_unreadable(state: StackState, name: str) -> PrimageError:
    """The error for reading an output whose value is secret, and so not kept."""
    return PrimageError(
        f"output {name} of stack {state.stack} is secret and is not kept by the embedded engine",
        todo="have the program output the name of a Kubernetes Secret instead",
        code=ExitCode.UNSUPPORTED,
    )
