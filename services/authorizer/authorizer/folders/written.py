"""Lines that stay: appended to files of a folder that root alone may enter, one file a month, and on disk before it is said so.

Whoever has the authorizer's own container can add lines. What is written only this program could change, and it never does: it
removes whole files, once they are old or too many.
"""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from authorizer.folders.make import Folder, ProblemError, make

LONGEST_LINE = 20 * 1024
LARGEST = 8 * 1024 * 1024
"""Bytes from which on the next file is begun, within the same month."""
MOST, MOST_MONTHS = 16, 24
"""Files that are kept, and of how many months."""
NAME = re.compile(r"rights-(\d{4})-(\d{2})-(\d{3})\.jsonl")


def append(volumes: Path, place: str, lines: list[str]) -> None:
    """Write lines, all or none of them; they are on the disk when it returns.

    Args:
        place: a volume's name, and that of a folder in its root.

    Raises:
        ProblemError: a line is none.
        OSError: they could not be written.
    """
    for line in lines:
        _require_line(line)
    volume, name = place.split("/")
    # Of this program's own user: of root, but in tests.
    make(volumes, Folder(volume, [name], os.geteuid(), os.getegid(), 0o700, personal=False))
    folder = os.open(volumes / volume / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _write(folder, _file(folder), "".join(f"{line}\n" for line in lines).encode())
        _forget(folder)
    finally:
        os.close(folder)


def _require_line(line: str) -> None:
    """It is read by others as what it says it is."""
    good = isinstance(line, str) and line.isascii() and line.isprintable() and 0 < len(line) <= LONGEST_LINE
    try:
        good = good and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        good = False
    if not good:
        raise ProblemError(f"{str(line)[:100]!r} is no line of the audit log")


def _files(folder: int) -> list[str]:
    """Those that are there, the oldest first."""
    return sorted(name for name in os.listdir(folder) if NAME.fullmatch(name))


def _file(folder: int) -> str:
    """The one to write to."""
    begin = f"rights-{datetime.now(UTC):%Y-%m}-"
    latest = max((name for name in _files(folder) if name.startswith(begin)), default=f"{begin}000.jsonl")
    with suppress(FileNotFoundError):
        if os.stat(latest, dir_fd=folder, follow_symlinks=False).st_size >= LARGEST:
            return f"{begin}{int(latest[len(begin) :][:3]) + 1:03d}.jsonl"
    return latest


def _write(folder: int, name: str, data: bytes) -> None:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ProblemError(f"{name} is no file")
        size = status.st_size
        # A line that a power cut has left half written must not swallow the next one.
        if size and os.pread(file, 1, size - 1) != b"\n":
            data = b"\n" + data
        try:
            if os.write(file, data) != len(data):
                raise OSError(28, "No space left on device", name)
            os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, size)
            raise
        if not size:
            os.fsync(folder)
    finally:
        os.close(file)


def _forget(folder: int) -> None:
    """Remove files that are too many or too old."""
    today = datetime.now(UTC)
    files = _files(folder)
    for place, name in enumerate(files[:-1]):
        found = NAME.fullmatch(name)
        months = 12 * today.year + today.month - 12 * int(found[1]) - int(found[2]) if found else 0
        if len(files) - place > MOST or months > MOST_MONTHS:
            os.unlink(name, dir_fd=folder)
