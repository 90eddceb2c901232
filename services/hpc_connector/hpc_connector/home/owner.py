"""Becoming the owner of a private folder, so that the kernel keeps one member's job out of another's files."""

from __future__ import annotations

import os
import stat

FIRST_UID = 1000
"""Users below are the machines' own, and nobody's HOME."""
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMES_NO_FOLDER = {"", ".", ".."}


def become_owner(root: int, name: str, vo_uid: int, vo_gid: int) -> int:
    """Give up what this process is for the owner of one private folder, for ever; returns the folder's descriptor.

    Its owner is in two groups, as in a pod of theirs: the VO's, and the one that the folder belongs to. A folder of root's is the
    VO's own.

    Args:
        root: descriptor of the folder that all private ones of the VO are in.
        vo_uid: user that the VO's own pods run as.

    Raises:
        OSError: there is no such folder, or it is a link.
        PermissionError: it belongs to a user or a group of the machine's.
    """
    if name in _NAMES_NO_FOLDER or "/" in name or "\0" in name:
        raise PermissionError(f"{name!r} is not the name of a folder")
    # Only named, not opened: that takes no right over it, which this process has not.
    folder = os.open(name, _FOLDER, dir_fd=root)
    found = os.fstat(folder)
    uid = found.st_uid or vo_uid
    if not stat.S_ISDIR(found.st_mode) or uid < FIRST_UID or (found.st_gid or vo_gid) < FIRST_UID:
        raise PermissionError(f"{name} belongs to {found.st_uid}:{found.st_gid}, which is nobody whom HOME is for")
    if os.getuid() != uid:
        os.setgroups([found.st_gid or vo_gid])
        os.setresgid(vo_gid, vo_gid, vo_gid)
        os.setresuid(uid, uid, uid)
    return folder
