"""Where states are kept, written before and after every object, so that a run killed anywhere can be run again.

A file serves operators; a Secret in the run's namespace serves users' runs, so that whoever may see the namespace
sees the same. Both hold the same document.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TextIO

from primage.clients.cluster import Cluster, Ref, Refused
from primage.contract.names import LABEL_MANAGED_BY, LABEL_STACK, stack_label
from primage.engine.embedded.document import FILE, RUN, Form
from primage.engine.embedded.state import StackState
from primage.engine.ownership import STATE_TYPE, Scope
from primage.errors import PrimageError
from primage.paths import state_dir
from primage.projects.project import StackName, project_of


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
                todo="correct the file's permissions",
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
                todo="free space or correct the folder's permissions, then run the same command again",
            ) from error

    def text(self, state: StackState) -> bytes:
        """The state as it is kept."""
        return self._form.write(state)

    def remove(self) -> None:
        """Forget the stack."""
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the stack for this process; the system lets go when it ends, however it ends. Nothing stays where no state does."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.path.with_suffix(".lock")
        with _held(path) as stream:
            if stream is None:
                raise PrimageError(
                    f"another process is changing stack {self._stack}",
                    where=self.where,
                    todo="wait for it to end, then try again",
                )
            try:
                yield
            finally:
                if not self.path.exists():
                    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[TextIO | None]:
    """The file at `path`, locked; None where another process has it."""
    while True:
        with path.open("w", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield None
                return
            # Who had it before may have removed it in between: then a third process would lock another file.
            if _is_at(path, stream):
                yield stream
                return


def _is_at(path: Path, stream: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


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
        body = {"apiVersion": "v1", "kind": "Secret", "type": STATE_TYPE, "metadata": metadata, "data": {"state": data}}
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


def file_store(name: StackName) -> FileStore:
    """The store of a stack whose state is in a file on this machine: a site's, or an app's that is not a run."""
    return FileStore(state_dir() / project_of(name).name / f"{name.stack}.json", name)
