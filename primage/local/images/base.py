"""The base layer: a minimal Debian with Python, made by mmdebstrap from the host's own package sources."""

from __future__ import annotations

import hashlib
from pathlib import Path

from primage.paths import cache_dir
from primage.process import run_logged

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "tzdata")
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
TIMEOUT_S = 15 * 60


def rootfs_key() -> str:
    """Changes with what the base is made of; not with Debian's updates, which `make clean-cache` brings in."""
    return hashlib.sha256(repr((SUITE, PACKAGES, LEFT_OUT)).encode()).hexdigest()[:12]


def make_rootfs(log: Path) -> Path:
    """The root file system's tar archive, about 200 MB, made once and kept in the cache."""
    target = cache_dir() / "images" / f"rootfs-{rootfs_key()}.tar"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part.tar")
    part.unlink(missing_ok=True)
    excludes = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    run_logged(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *excludes, SUITE, str(part)],
        log=log,
        timeout_s=TIMEOUT_S,
    )
    part.rename(target)
    return target
