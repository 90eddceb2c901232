"""The files of one private folder of HOME: what is read from it and written to it stays inside it, and never hangs.

The user writes there at the same time and may put anything in any place at any moment. So every path is opened from the
root down, folder by folder, each by the descriptor of the one before and none through a symbolic link; files are opened
without waiting (a named pipe would wait for ever) and used only when they are regular ones.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import PurePosixPath

from hpc_connector.domain.errors import RefusedError, UnavailableError
from hpc_connector.domain.limits import MOST_FILES, MOST_TOLD

DEEPEST = 64
"""Folders in each other below a named input: each holds a descriptor while it is read."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Walk:
    """Adds files below folders to what was found, as long as there are not too many entries of any kind, nor too long names."""

    def __init__(self, found: dict[str, str]) -> None:
        self._found = found
        self._left = MOST_FILES
        self._told_left = MOST_TOLD

    def add(self, folder: int, path: PurePosixPath) -> None:
        """An entry of an open folder, with everything in it."""
        self._take(1, path)
        self._add(folder, path, 0)

    def _add(self, folder: int, path: PurePosixPath, depth: int) -> None:
        mode = os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            self._add_all(folder, path, depth + 1)
        elif stat.S_ISREG(mode):
            self._told_left -= len(json.dumps(str(path)))
            if self._told_left < 0:
                words = f"the names of all files in inputs take at most {MOST_TOLD >> 20} MiB; pack {path.parts[0]}"
                raise RefusedError("Unfit", words)
            self._found[str(path)] = _sha256(path.name, folder)
        elif depth == 0:
            raise RefusedError("Unfit", f"{path} is a link, a pipe or a device; name the file or folder itself")

    def _add_all(self, folder: int, path: PurePosixPath, depth: int) -> None:
        inner = os.open(path.name, _FOLDER, dir_fd=folder)
        try:
            # Counted before any is looked at: the lists of all folders above one are in memory at once.
            names = _names(inner, self._left + 1)
            self._take(len(names), path, depth)
            for name in names:
                self._add(inner, path / name, depth)
        finally:
            os.close(inner)

    def _take(self, entries: int, path: PurePosixPath, depth: int = 0) -> None:
        self._left -= entries
        if self._left < 0 or (entries and depth > DEEPEST):
            words = f"at most {MOST_FILES} files and folders in inputs, {DEEPEST} in each other; pack {path.parts[0]}"
            raise RefusedError("Unfit", words)


class Files:
    """One private folder; paths are given below it.

    Args:
        root: its descriptor, whatever that may be used for.
    """

    def __init__(self, root: int) -> None:
        self._root = root

    def files(self, inputs: tuple[str, ...]) -> dict[str, str]:
        """SHA-256 by path of every file in the inputs; links, pipes and devices inside folders are left out."""
        found: dict[str, str] = {}
        walk = _Walk(found)
        for below in inputs:
            with _waited_for("read"), _named(below), self._folder(PurePosixPath(below).parent) as folder:
                walk.add(folder, PurePosixPath(below))
        return found

    def read(self, below: str, offset: int, most: int) -> bytes:
        """Part of a file; where it is anything but a regular file, UnavailableError."""
        path = PurePosixPath(below)
        with _waited_for("read"), self._folder(path.parent) as folder, _regular(path.name, os.O_RDONLY, folder) as descriptor:
            return os.pread(descriptor, most, offset)

    def size(self, below: str) -> int:
        """Bytes in a file, 0 where there is none."""
        path = PurePosixPath(below)
        with _waited_for("read"), suppress(FileNotFoundError), self._folder(path.parent) as folder:
            return os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_size
        return 0

    def digest(self, below: str) -> str:
        """SHA-256 of a file, empty where there is none."""
        path = PurePosixPath(below)
        with _waited_for("read"), suppress(FileNotFoundError), self._folder(path.parent) as folder:
            return _sha256(path.name, folder)
        return ""

    def tail(self, below: str, most: int) -> bytes:
        """The last bytes of a file, however long it is; nothing where there is none that can be read."""
        try:
            return self.read(below, max(0, self.size(below) - most), most)
        except UnavailableError:
            return b""

    def write_at(self, below: str, offset: int, data: bytes) -> None:
        """Write part of a file, and its end there, in folders that are made where they are not there; see it kept."""
        path, flags = PurePosixPath(below), os.O_WRONLY | os.O_CREAT
        with (
            _waited_for("written"),
            self._folder(path.parent, make=True) as folder,
            _regular(path.name, flags, folder) as descriptor,
        ):
            os.ftruncate(descriptor, offset)
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, offset)
                offset, view = offset + written, view[written:]
            os.fsync(descriptor)

    def replace(self, part: str, below: str) -> None:
        """Give a file its final name in the same folder, in place of what has it, and see it kept."""
        old, new = PurePosixPath(part), PurePosixPath(below)
        assert old.parent == new.parent
        with _waited_for("written"), self._folder(new.parent) as folder:
            os.replace(old.name, new.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def remove(self, below: str) -> None:
        """Remove a file, where it is there."""
        path = PurePosixPath(below)
        with _waited_for("written"), suppress(FileNotFoundError), self._folder(path.parent) as folder:
            os.unlink(path.name, dir_fd=folder)

    @contextmanager
    def _folder(self, below: PurePosixPath, *, make: bool = False) -> Iterator[int]:
        """Descriptor of a folder, reached without following a link."""
        descriptor = os.open(".", _FOLDER, dir_fd=self._root)
        try:
            for name in below.parts:
                if name == ".." or name.startswith("/"):
                    raise RefusedError("Unfit", f"{below} leads out of HOME/private")
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o770, dir_fd=descriptor)
                try:
                    inner = os.open(name, _FOLDER, dir_fd=descriptor)
                except OSError as error:
                    if error.errno in {errno.ENOTDIR, errno.ELOOP}:
                        raise OSError(error.errno, f"{name} is a link, or not a folder") from error
                    raise
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)


def _names(folder: int, most: int) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in islice(entries, most))


@contextmanager
def _regular(name: str, flags: int, folder: int) -> Iterator[int]:
    """Descriptor of a regular file; what is anything else is closed again, untouched."""
    try:
        descriptor = os.open(name, flags | _FILE, 0o660, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ELOOP, errno.EISDIR}:  # a pipe or a socket, a link, a folder
            raise OSError(error.errno, f"{name} is not a regular file") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, f"{name} is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _sha256(name: str, folder: int) -> str:
    with _regular(name, os.O_RDONLY, folder) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _named(below: str) -> Iterator[None]:
    """An input that is not there is the job's mistake."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            words = f"there is no {below} in HOME/private, or a part of its path is a link"
            raise RefusedError("InputMissing", words) from error
        raise


@contextmanager
def _waited_for(what: str) -> Iterator[None]:
    """A failing HOME volume is something to wait for."""
    try:
        yield
    except OSError as error:
        raise UnavailableError("HomeUnavailable", f"HOME cannot be {what}: {error.strerror or error}") from error
