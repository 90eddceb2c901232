"""What `primage cp` runs inside a pod, as the tenant: list, read and write files below a folder. Standard library only.

Arguments: an action and its own. A symbolic link is never followed out of the folder that is copied: it is left out.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

CHUNK = 1 << 20
SIGN_OF_LIFE = 1 << 28
"""Bytes of one file that are hashed between two empty lines, which tell the other side that this still runs."""
ROOT = "/volumes"
"""Where the pod has the tenant's volumes, each in a folder of its name."""


def shown(path: str) -> str:
    """A path as the tenant names it: `private/results.csv`."""
    return path.removeprefix(f"{ROOT}/")


def digest(path: Path, size: int) -> str:
    """SHA-256 of the first `size` bytes."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while size and (data := stream.read(min(CHUNK, size))):
            found.update(data)
            size -= len(data)
            if size and stream.tell() % SIGN_OF_LIFE == 0:
                print(flush=True)
    return found.hexdigest()


def tell(**what: object) -> None:
    """One line for who asked, at once: it is a sign of life too."""
    print(json.dumps(what), flush=True)


def list_files(root: str) -> None:
    """Each regular file: its path below `root` (empty where `root` is a file), its size, its SHA-256."""
    top = Path(root)
    if not top.exists():
        sys.exit(f"there is no {shown(root)}")
    files = [top] if top.is_file() else [p for p in sorted(top.rglob("*")) if p.is_file() and not p.is_symlink()]
    for path in files:
        size = path.stat().st_size
        tell(path="" if path == top else str(path.relative_to(top)), size=size, sha256=digest(path, size))


def look(target: str, part: str) -> None:
    """What is at `target` and at `part`, the beginning of it that an earlier copy left."""
    for name, path in (("target", Path(target)), ("part", Path(part))):
        if path.is_file():
            size = path.stat().st_size
            tell(what=name, size=size, sha256=digest(path, size))
        elif path.is_dir():
            tell(what=name, folder=True)


def read(path: str, offset: str) -> None:
    """The file's bytes from `offset` on."""
    with Path(path).open("rb") as stream:
        stream.seek(int(offset))
        while data := stream.read(CHUNK):
            sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write(target: str, part: str, offset: str, size: str, sha256: str) -> None:
    """Standard input after the first `offset` bytes of `part`; in place as `target` once it is whole."""
    os.umask(0o007)
    Path(target).parent.mkdir(mode=0o770, parents=True, exist_ok=True)
    left, whole = int(size) - int(offset), Path(part)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o660)
    with os.fdopen(descriptor, "wb") as stream:
        stream.truncate(int(offset))
        stream.seek(int(offset))
        while left:
            data = os.read(sys.stdin.fileno(), min(CHUNK, left))
            if not data:
                sys.exit("the copy was cut off")
            stream.write(data)
            left -= len(data)
        stream.flush()
        os.fsync(stream.fileno())
    if digest(whole, int(size)) != sha256:
        whole.unlink()
        sys.exit(f"{shown(target)} did not arrive whole; copy it again")
    whole.replace(target)
    tell(what="done")


if __name__ == "__main__":
    actions: dict[str, Callable[..., None]] = {"list": list_files, "look": look, "read": read, "write": write}
    try:
        actions[sys.argv[1]](*sys.argv[2:])
    except OSError as error:
        sys.exit(f"{shown(str(error.filename))}: {error.strerror}")
