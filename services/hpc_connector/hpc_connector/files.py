"""The user's HOME volume, as mounted here: what is read from it and written to it stays inside it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hpc_connector.domain import RefusedError, UnavailableError

CHUNK = 1 << 20


class Home:
    """The private folder of HOME.

    Args:
        root: where it is mounted.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, below: str) -> Path:
        """A path in it; a link that leads out of it is refused."""
        path = self._root / below
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise RefusedError("Unfit", f"{below} leads out of HOME/private")
        return path

    def files(self, inputs: tuple[str, ...]) -> dict[str, str]:
        """SHA-256 by path of every file in the inputs; links inside folders are left out."""
        found: dict[str, str] = {}
        for below in inputs:
            path = self.path(below)
            if not path.exists():
                raise RefusedError("InputMissing", f"there is no {below} in HOME/private")
            inside = (
                [path] if path.is_file() else [item for item in sorted(path.rglob("*")) if not item.is_symlink() and item.is_file()]
            )
            found.update({str(item.relative_to(self._root)): self.digest(item) for item in inside})
        return found

    @staticmethod
    def digest(path: Path) -> str:
        """SHA-256 of a file, empty where there is none."""
        try:
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except FileNotFoundError:
            return ""

    def log(self, job: str, uid: str, attempt: int) -> Path:
        """The file that keeps an attempt's output; jobs that had the same name before keep theirs."""
        return self.path(f"jobs/{job}/{uid[:8]}/{attempt}.log")

    def make_folder(self, path: Path) -> None:
        """Make a folder for the VO's group."""
        try:
            path.mkdir(mode=0o770, parents=True, exist_ok=True)
        except OSError as error:
            raise unavailable(error) from error

    def write_at(self, path: Path, offset: int, data: bytes) -> None:
        """Write part of a file and see it kept."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o660)
            try:
                os.ftruncate(descriptor, offset)
                view = memoryview(data)
                while view:
                    written = os.pwrite(descriptor, view, offset)
                    offset, view = offset + written, view[written:]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unavailable(error) from error


def unavailable(error: OSError) -> UnavailableError:
    """What a failing HOME volume is to a job: something to wait for."""
    return UnavailableError("HomeUnavailable", f"HOME cannot be written: {error.strerror}")
