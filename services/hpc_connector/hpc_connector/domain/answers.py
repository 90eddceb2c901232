"""What a login node, or a job, says in answer, read strictly."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from hpc_connector.domain.errors import RefusedError, UnavailableError
from hpc_connector.domain.limits import MOST_FILES
from hpc_connector.domain.text import readable

SMALL_BYTES = 64 * 1024
"""Of a file that holds a number or a few names."""
LIST_BYTES = 24 << 20
"""Of a list of MOST_FILES names with their digests; more is refused, since it is held in memory."""


def sums_of(text: str) -> dict[str, str]:
    """By path, what `sha256sum --zero` printed; raises ValueError where that is too much, or something else."""
    lines = text.split("\0")[:-1]
    if len(lines) > MOST_FILES:
        raise ValueError(f"there are more than {MOST_FILES} files; pack them")
    found = {}
    for line in lines:
        if not re.match(r"[0-9a-f]{64}  .", line, re.DOTALL):
            raise ValueError(f"the list of files has a line that is none: {readable(line, 100)!r}")
        found[line[66:]] = line[:64]
    return found


def part_of(uid: str, path: str, digest: str) -> str:
    """Where a file of a job is kept while it is on its way, beside its place, under a name that is always short.

    Jobs share HOME, and often bring files of the same content into one folder at the same time: no two may share a part.
    """
    name = hashlib.sha256("\0".join((uid, path, digest)).encode(errors="surrogateescape")).hexdigest()[:32]
    return str(PurePosixPath(path).with_name(f".{name}.part"))


def number_of(text: str) -> str:
    """Slurm's number as `submit.sh` and its file `number` have it; empty for an attempt that had begun already."""
    word = (text.strip().splitlines() or [""])[-1]
    if not re.fullmatch(r"[0-9]{1,20}|started", word, re.ASCII):
        raise RefusedError("SubmitRefused", f"{readable(word, 80)!r} is not a job's number; something wrote to the attempt's files")
    return "" if word == "started" else word


def root_of(text: str) -> str:
    """The folder a login node says it keeps working folders in: a whole path, on the last line of what it says."""
    root = (text.strip().splitlines() or [""])[-1]
    if not re.fullmatch(r"/[^\x00-\x1f\x7f|]{1,4000}", root):
        raise UnavailableError("HpcUnavailable", f"its scratch folder is none: {readable(root, 200)!r}")
    return root
