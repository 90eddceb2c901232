"""Whether machines on this host have cgroups of their own: removing one must not take others' away."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from primage.errors import ExitCode, PrimageError
from primage.process import capture

ROOT = "/sys/fs/cgroup"
TRIAL = f"primage-trial-{os.getpid()}"
SCRIPT = """
set -eu
echo $$ > "$1/cgroup.procs"
exec unshare --cgroup --mount --propagation private sh -eu -c '
    mount -t cgroup -o none,name=systemd cgroup "$1"
    if [ -e "$1/$2" ]; then
        echo "a mount in a cgroup namespace still shows all of hierarchy name=systemd" >&2
        exit 1
    fi
' - "$2" "$3"
"""
"""What a machine's entry (images/machine/init.sh) does, in a cgroup made for it: the new mount must show what is in that one,
and so not that one itself."""


def require_own_cgroups() -> None:
    """Refuse, before anything is made, a host whose machines would share systemd's hierarchy.

    Raises:
        PrimageError: with what is missing.
    """
    reason = why_shared(Path("/proc/self/mountinfo").read_text(), _try)
    if reason:
        raise PrimageError(
            f"machines on this host would share their cgroups, and removing one would stop the others: {reason}",
            where=ROOT,
            todo="use a host with cgroups of version 2 (kernel argument systemd.unified_cgroup_hierarchy=1), or one where root may "
            "mount hierarchy name=systemd in a cgroup namespace",
            code=ExitCode.UNSUPPORTED,
        )


def why_shared(mountinfo: str, attempt: Callable[[str], str]) -> str:
    """Why machines would share cgroups, or nothing.

    Args:
        mountinfo: the host's mounts, as the kernel tells them.
        attempt: tries a mount of their own, given where hierarchy name=systemd is mounted; says why it failed, or nothing.
    """
    systemd = ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split()[4], after.split()[0]
        if kind == "cgroup2" and place == ROOT:
            return ""  # version 2 alone: a cgroup namespace is all a container needs
        if kind == "cgroup" and "name=systemd" in after.split()[-1].split(","):
            systemd = systemd or place
    return attempt(systemd) if systemd else "they are of version 1, and no hierarchy name=systemd is mounted"


def _try(hierarchy: str) -> str:
    cgroup = Path(hierarchy) / TRIAL
    try:
        cgroup.mkdir(exist_ok=True)
    except OSError as error:
        return str(error)
    try:
        with tempfile.TemporaryDirectory(prefix="primage-trial-") as place:
            capture(["sh", "-c", SCRIPT, "-", str(cgroup), place, TRIAL], timeout_s=20)
    except PrimageError as error:
        return error.what.rpartition("status ")[2]
    finally:
        cgroup.rmdir()
    return ""
