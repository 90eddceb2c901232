"""What a stack owns, written before and after every object, so that a run killed anywhere can be run again.

A file serves operators; a Secret in the run's namespace serves users' runs, so that whoever may see the namespace
sees the same. No secret is ever in it: values marked secret are masked, and a secret output cannot be read back.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import gzip
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from primage.clients.cluster import Cluster, Ref, Refused
from primage.errors import ExitCode, PrimageError

VERSION = 1


class Status(StrEnum):
    """How far an object got."""

    APPLYING = "applying"
    """Sent, or about to be; it may or may not be there."""
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


@dataclass
class Entry:
    """One resource a stack owns.

    Attributes:
        order: position in dependency order; deletion goes from the highest down.
        level: distance from resources without dependencies; what shares a level may be deleted together.
        kubeconfig, context: how the cluster is reached (a path, never the content).
        digest: of the object without its secrets; tells whether a Job that finished and was cleaned up is the same.
        dynamic: for a dynamic provider: its id, its properties with secrets masked, and the provider itself.
    """

    urn: str
    type: str
    name: str
    status: Status
    order: int
    level: int
    ref: Ref | None = None
    kubeconfig: str = ""
    context: str = ""
    digest: str = ""
    protect: bool = False
    retain: bool = False
    dynamic: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What a person calls it."""
        return str(self.ref) if self.ref else f"{self.type} {self.name}"


@dataclass
class StackState:
    """All a stack owns, and its outputs."""

    stack: str
    resources: dict[str, Entry] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    secret_outputs: list[str] = field(default_factory=list)
    """Names of outputs whose values are not kept."""

    def to_json(self) -> str:
        """The state as text."""
        body = asdict(self)
        return json.dumps({"version": VERSION, "written": time.time(), **body}, indent=1)

    @staticmethod
    def from_json(text: str, where: str) -> StackState:
        """Read it back; `PrimageError` when it is damaged or newer than this program."""
        try:
            body = json.loads(text)
            if body.pop("version") > VERSION:
                raise PrimageError("the state was written by a newer primage", where=where, todo="use that version")
            body.pop("written", None)
            resources = {
                urn: Entry(**{**raw, "status": Status(raw["status"]), "ref": Ref(**raw["ref"]) if raw["ref"] else None})
                for urn, raw in body.pop("resources").items()
            }
            return StackState(resources=resources, **body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PrimageError(
                f"the stack's state cannot be read ({error})",
                where=where,
                todo="restore the file from a backup; without it, delete it and run `primage up`: objects that are the "
                "stack's own are recognised by their field manager and taken over",
            ) from error


class StateStore(Protocol):
    """Where one stack's state is kept."""

    where: str

    def load(self) -> StackState:
        """The state; an empty one when there is none yet."""

    def save(self, state: StackState) -> None:
        """Replace it, whole or not at all."""

    def remove(self) -> None:
        """Forget the stack."""

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from changing the stack."""


class FileStore:
    """A file, replaced whole at each write, and a lock beside it."""

    def __init__(self, path: Path, stack: str) -> None:
        self.path = path
        self.where = str(path)
        self._stack = stack

    def load(self) -> StackState:
        """The state; an empty one when there is none yet."""
        if not self.path.exists():
            return StackState(self._stack)
        return StackState.from_json(self.path.read_text(encoding="utf-8"), self.where)

    def save(self, state: StackState) -> None:
        """Write to a neighbour, flush to disk, rename: a reader sees the old state or the new one."""
        part = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with part.open("w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(state.to_json())
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

    def __init__(self, cluster: Cluster, namespace: str, name: str, stack: str) -> None:
        self._cluster = cluster
        self._ref = Ref("v1", "Secret", name, namespace)
        self.where = str(self._ref)
        self._stack = stack
        self._version = ""

    def load(self) -> StackState:
        """The state; an empty one when there is none yet."""
        found = self._cluster.get(self._ref)
        if found is None:
            self._version = ""
            return StackState(self._stack)
        self._version = found["metadata"]["resourceVersion"]
        text = gzip.decompress(base64.b64decode(found["data"]["state"])).decode()
        return StackState.from_json(text, self.where)

    def save(self, state: StackState) -> None:
        """Replace the Secret; refused when another run changed it since `load`."""
        data = base64.b64encode(gzip.compress(state.to_json().encode())).decode()
        metadata: dict[str, Any] = {"name": self._ref.name, "namespace": self._ref.namespace}
        if self._version:
            metadata["resourceVersion"] = self._version
        body = {"apiVersion": "v1", "kind": "Secret", "type": "primage.eu/state", "metadata": metadata, "data": {"state": data}}
        try:
            saved = self._cluster.apply(body, manager="primage-state", force=True)
        except Refused as refusal:
            raise PrimageError(
                f"the run's state was not written: {refusal.message}",
                where=self.where,
                todo="another run may be changing the same stack: wait for it, then try again",
            ) from refusal
        self._version = saved["metadata"]["resourceVersion"]

    def remove(self) -> None:
        """Forget the run."""
        self._cluster.delete(self._ref, propagation="Background")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Nothing to hold: every write carries the version it is based on."""
        yield


def find_unreadable(state: StackState, name: str) -> PrimageError:
    """The error for reading an output whose value is secret, and so not kept."""
    return PrimageError(
        f"output {name} of stack {state.stack} is secret and is not kept by the embedded engine",
        todo="have the program output the name of a Kubernetes Secret instead",
        code=ExitCode.UNSUPPORTED,
    )
