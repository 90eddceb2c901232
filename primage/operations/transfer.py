"""Files in and out of HOME, and out of DATALAKE: through a small pod with the tenant's own rights.

Copies go on where they were cut off, and are in place only once they are whole (SHA-256). What the pod says is data: it
names no path outside the folder that is copied to.
"""

from __future__ import annotations

import hashlib
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator

from primage.clients.cluster import Cluster, Object, Ref
from primage.clients.exec_stream import exchange
from primage.contract.names import CLAIM_DATALAKE, CLAIM_HOME_PRIVATE, CLAIM_HOME_SHARED
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.waiting import wait_gone, wait_ready
from primage.operations.files_in_pod import ROOT
from primage.operations.helper_pod import helper_pod
from primage.operations.said import Said
from primage.operations.site import Place, site_handle
from primage.projects.project import StackName, parse_stack_name
from primage.projects.validation import sentences

VOLUMES = {"private": CLAIM_HOME_PRIVATE, "shared": CLAIM_HOME_SHARED, "datalake": CLAIM_DATALAKE}
IMAGE = "primage/base:1"
START_S = 120
MOST_SAID = 64 << 20
"""Of a pod's answer, which whoever may enter that pod can write: the names and digests of some 300,000 files."""
MOST_ANSWERED = 1 << 16
"""Bytes of an answer to a file that is sent: a line, and an empty one per SIGN_OF_LIFE."""
CHUNK = 1 << 18
MOST_FILES = 100_000
"""In one copy; more are better packed into an archive first."""

Report = Callable[[str, int, int], None]
"""Told of progress: the file's path, bytes done, bytes in all."""


@dataclass(frozen=True)
class Address:
    """A path in a volume of a VO or of one of its members: `[<member>_]<vo>.<site>:private/results.csv`.

    Attributes:
        folder: whether it ends with a slash, and so names a folder.
    """

    stack: StackName
    volume: str
    path: str
    folder: bool = False

    @property
    def in_pod(self) -> str:
        """Where the pod has it."""
        return str(PurePosixPath(ROOT) / self.volume / self.path)

    def __str__(self) -> str:
        return f"{self.stack.stack}:{self.volume}/{self.path}"


def parse_address(text: str) -> Address | None:
    """Read an address; None for a path of this machine, which has no colon or begins with `/` or `.`.

    Raises:
        PrimageError: it has a colon and is not an address.
    """
    place, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        return None
    volume, _, below = path.partition("/")
    if volume not in VOLUMES or ".." in PurePosixPath(below).parts or "\0" in below:
        raise PrimageError(
            f"{text!r} names no place in HOME: after the colon comes {', '.join(f'{name}/' for name in VOLUMES)} and a path in it",
            todo="write e.g. vo.primage.eu.local:private/results.csv; a file of this machine with a colon in its name as ./name",
            code=ExitCode.USAGE,
        )
    return Address(parse_stack_name(f"home/{place}"), volume, below.strip("/"), folder=not below or below.endswith("/"))


@dataclass(frozen=True)
class Copied:
    """What became of one file.

    Attributes:
        size: in bytes.
        already: whether the same file was there before.
        begun: bytes of it that an earlier, interrupted copy had already brought.
    """

    path: str
    size: int
    already: bool
    begun: int = 0

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {"path": self.path, "bytes": self.size, "already": self.already, "begun": self.begun}


Answer = TypeVar("Answer", bound=Said)


@dataclass(frozen=True)
class Volumes:
    """A tenant's volumes, as a pod of theirs has them mounted."""

    cluster: Cluster
    pod: Ref

    def ask(self, what: str, *command: str, given: Iterator[bytes] | None = None) -> Iterator[bytes]:
        """Run the script in the pod; `what` is for the message if it fails."""
        return exchange(self.cluster.attach(self.pod, ["python3", "-c", _script(), *command]), given or iter(()), what)

    def answers(self, model: type[Answer], what: str, *command: str) -> list[Answer]:
        """The script's answer: a document on each line that is not empty.

        Raises:
            PrimageError: it is too long, or not what the script would say.
        """
        said = bytearray()
        for part in self.ask(what, *command):
            said += part
            if len(said) > MOST_SAID:
                raise PrimageError(
                    f"{what}: the answer is longer than {MOST_SAID >> 20} MiB",
                    where=str(self.pod),
                    todo="name a folder with fewer files",
                )
        try:
            return [model.model_validate_json(line) for line in bytes(said).splitlines() if line]
        except ValidationError as error:
            wrong = sentences(error, "answer")[0]
            raise self._nonsense(f"{what}: the pod does not answer as its script does: {wrong[:300]}") from error

    def send(self, what: str, *command: str, given: Iterator[bytes]) -> None:
        """Give the script a file. Of its answer only failure counts.

        Raises:
            PrimageError: the script fails, or its answer is longer than MOST_ANSWERED.
        """
        answered = 0
        for part in self.ask(what, *command, given=given):
            answered += len(part)
            if answered > MOST_ANSWERED:
                raise self._nonsense(f"{what}: the pod does not stop answering")

    def _nonsense(self, what: str) -> PrimageError:
        return PrimageError(what, where=str(self.pod), todo="see what runs in that pod, then run the same command again")


@contextmanager
def volumes_of(address: Address) -> Iterator[Volumes]:
    """A pod with the tenant's volumes, there while it is entered."""
    site = site_handle(address.stack.site)
    place = site.place(address.stack.vo, address.stack.namespace)
    pod = _pod(place, site.outputs.images.resolve(IMAGE))
    ref = Ref.of(pod)
    with _unwinding():
        try:
            site.cluster.apply(pod, manager="primage-cp")
            wait_ready(site.cluster, site.cluster.get(ref) or pod, timeout_s=START_S, report=lambda _: None)
            yield Volumes(site.cluster, ref)
        finally:
            site.cluster.delete(ref)
            wait_gone(site.cluster, ref, timeout_s=30, report=lambda _: None)


@contextmanager
def _unwinding() -> Iterator[None]:
    """Told to end (SIGTERM), this process tidies up first, as it does when interrupted from a terminal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def upload(source: Path, target: Address, report: Report) -> list[Copied]:
    """Copy a file, or a folder with all in it, into HOME. A target that ends with `/` or is a folder receives it inside.

    Raises:
        PrimageError: nothing is at `source`, the target is DATALAKE, or the copy fails.
    """
    if target.volume == "datalake":
        raise PrimageError("DATALAKE is read-only", todo="copy to private/ or shared/", code=ExitCode.USAGE)
    if not source.exists():
        raise PrimageError(f"there is no {source}", todo="name a file or folder of this machine", code=ExitCode.USAGE)
    with volumes_of(target) as volumes:
        goal = PurePosixPath(target.in_pod)
        found = volumes.answers(_Looked, f"looking at {target}", "look", str(goal), str(goal))
        if target.folder or any(item.folder for item in found):
            goal /= source.resolve().name
        files = [source] if source.is_file() else [p for p in sorted(source.rglob("*")) if p.is_file() and not p.is_symlink()]
        pairs = [(path, goal if path == source else goal / path.relative_to(source).as_posix()) for path in files]
        return [_send(volumes, path, place, report) for path, place in pairs]


def _send(volumes: Volumes, source: Path, target: PurePosixPath, report: Report) -> Copied:
    size, whole = source.stat().st_size, _digest(source)
    shown = str(target.relative_to(ROOT))
    part = str(target.with_name(f".{target.name}.part"))
    there = {item.what: item for item in volumes.answers(_Looked, f"looking at {shown}", "look", str(target), part)}
    if "target" in there and there["target"].sha256 == whole:
        report(shown, size, size)
        return Copied(shown, size, already=True)
    begun = there.get("part")
    offset = begun.size if begun and begun.size <= size and _digest(source, begun.size) == begun.sha256 else 0

    def pieces() -> Iterator[bytes]:
        done = offset
        with source.open("rb") as stream:
            stream.seek(offset)
            while done < size and (data := stream.read(min(CHUNK, size - done))):
                yield data
                done += len(data)
                report(shown, done, size)

    command = ("write", str(target), part, str(offset), str(size), whole)
    volumes.send(f"writing {shown}", *command, given=pieces())
    report(shown, size, size)
    return Copied(shown, size, already=False, begun=offset)


def download(source: Address, target: Path, report: Report) -> list[Copied]:
    """Copy a file, or a folder with all in it, to this machine. A target that is a folder receives it inside.

    Raises:
        PrimageError: nothing is at `source`, or the copy fails.
    """
    with volumes_of(source) as volumes:
        found = volumes.answers(_Listed, f"listing {source}", "list", source.in_pod)
        goal = target / (PurePosixPath(source.in_pod).name) if target.is_dir() else target
        if len(found) > MOST_FILES:
            raise PrimageError(f"{source} holds more than {MOST_FILES} files", todo="pack them into an archive first")
        return [_receive(volumes, source, file, goal / file.path if file.path else goal, report) for file in found]


class _Looked(Said):
    """What is at a target, or at the beginning of it that an earlier copy left."""

    what: Literal["target", "part"]
    folder: bool = False
    size: Annotated[int, Field(ge=0)] = 0
    sha256: str = ""


class _Listed(Said):
    """A file, whose path stays below the folder that is copied; empty where it is the file that is copied."""

    path: str
    size: Annotated[int, Field(ge=0)]
    sha256: str

    @field_validator("path")
    @classmethod
    def _below(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path:
            raise ValueError("is not a path below the folder that is copied")
        return path


def _receive(volumes: Volumes, source: Address, file: _Listed, target: Path, report: Report) -> Copied:
    if target.is_file() and not target.is_symlink() and target.stat().st_size == file.size and _digest(target) == file.sha256:
        report(str(target), file.size, file.size)
        return Copied(str(target), file.size, already=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    if part.is_symlink():
        part.unlink()
    begun = offset = part.stat().st_size if part.is_file() and part.stat().st_size <= file.size else 0
    remote = str(PurePosixPath(source.in_pod) / file.path) if file.path else source.in_pod
    with part.open("r+b" if offset else "wb") as stream:
        stream.seek(offset)
        for data in volumes.ask(f"reading {file.path or source}", "read", remote, str(offset)):
            offset += len(data)
            if offset > file.size:
                raise PrimageError(f"{file.path or source} grew while it was copied", todo="copy it when nobody writes to it")
            stream.write(data)
            report(str(target), offset, file.size)
    if _digest(part) != file.sha256:
        part.unlink()
        raise PrimageError(f"{file.path or source} did not arrive whole, or changed meanwhile", todo="run the same command again")
    part.replace(target)
    return Copied(str(target), file.size, already=False, begun=begun)


def _digest(path: Path, size: int | None = None) -> str:
    """SHA-256 of a file, or of its first `size` bytes."""
    found, left = hashlib.sha256(), path.stat().st_size if size is None else size
    with path.open("rb") as stream:
        while left and (data := stream.read(min(1 << 20, left))):
            found.update(data)
            left -= len(data)
    return found.hexdigest()


@cache
def _script() -> str:
    return (resources.files("primage.operations") / "files_in_pod.py").read_text(encoding="utf-8")


def _pod(place: Place, image: str) -> Object:
    return helper_pod(
        f"cp-{secrets.token_hex(4)}",
        place,
        {"name": "files", "image": image},
        memory="64Mi",
        mounts=[{"name": name, "mountPath": f"{ROOT}/{name}", "readOnly": name == "datalake"} for name in VOLUMES],
        volumes=[
            {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": name == "datalake"}}
            for name, claim in VOLUMES.items()
        ],
    )
