"""One folder on a shared volume, made or brought in line by root.

Goes down its path by file descriptors, so that no symbolic link is followed, whoever planted it. A folder that is there is
given its owner and mode; what is in it is never touched. A personal folder is never given to another person: one that belongs to
somebody else is an error.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

WRITABLE_BY_OTHERS = 0o022


class ProblemError(Exception):
    """Something that a person has to look at."""


class Folder(NamedTuple):
    """One folder.

    Attributes:
        volume: name of the volume, which is mounted below the folder the program is given.
        path: names from the volume's root down to it; all but the last are there already.
        mode: permission bits, the set-group-ID bit among them.
        personal: whether it is somebody's own, so that another owner is a mistake and no reason to change it.
    """

    volume: str
    path: list[str]
    uid: int
    gid: int
    mode: int
    personal: bool


def make(mounts: Path, folder: Folder) -> str:
    """Make a folder, or bring one that is there in line; returns what was done, empty for nothing.

    Raises:
        ProblemError: what is in the way.
    """
    *above, name = folder.path
    with contextlib.ExitStack() as opened:
        parent = _root(mounts / folder.volume, opened)
        for part in above:
            parent = _enter(part, parent, opened)
        try:
            found = _enter(name, parent, opened)
        except FileNotFoundError:
            if folder.personal:
                _new(name, parent, folder, opened)
                return "made"
            # kubelet may make it at the same time, for a pod that has it mounted: that one must not be replaced.
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            _align(_enter(name, parent, opened), folder)
            return "made"
        return _align(found, folder)


def _root(path: Path, opened: contextlib.ExitStack) -> int:
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    opened.callback(os.close, root)
    if os.fstat(root).st_mode & WRITABLE_BY_OTHERS:
        raise ProblemError("the volume's root may be written by others than its owner; take that right away with chmod go-w")
    return root


def _enter(name: str, parent: int, opened: contextlib.ExitStack) -> int:
    try:
        found = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except NotADirectoryError:
        raise ProblemError(f"{name} is a file or a symbolic link, and has to be a folder; see who made it, and remove it") from None
    opened.callback(os.close, found)
    return found


def _new(name: str, parent: int, folder: Folder, opened: contextlib.ExitStack) -> None:
    """It appears under its name only when it is complete: a run that is killed leaves nothing half made."""
    draft = f".new-{name}"
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(draft, dir_fd=parent)
    os.mkdir(draft, 0o700, dir_fd=parent)
    made = _enter(draft, parent, opened)
    os.fchown(made, folder.uid, folder.gid)
    os.fchmod(made, folder.mode)
    os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)


def _align(found: int, folder: Folder) -> str:
    status = os.fstat(found)
    if folder.personal and status.st_uid != folder.uid:
        raise ProblemError(
            f"it belongs to user {status.st_uid} and not to {folder.uid}; if that is right, move it away or give it to {folder.uid}"
        )
    done = []
    if (status.st_uid, status.st_gid) != (folder.uid, folder.gid):
        os.fchown(found, folder.uid, folder.gid)
        done.append(f"owner {status.st_uid}:{status.st_gid} changed to {folder.uid}:{folder.gid}")
    if stat.S_IMODE(status.st_mode) != folder.mode:
        os.fchmod(found, folder.mode)
        done.append(f"mode {stat.S_IMODE(status.st_mode):o} changed to {folder.mode:o}")
    return ", ".join(done)
