"""Commands on machines of the local site and of the roles' scenarios, for tests that look at one again and again."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primage.local.images import storage
from primage.process import capture


@dataclass(frozen=True)
class FirstProcess:
    """A machine's process 1, as this host numbers it.

    Attributes:
        begun: when it began, in the kernel's clock ticks, which tells it from a later process of the same number.
    """

    pid: int
    begun: str

    @staticmethod
    def of(machine: str) -> FirstProcess:
        """Ask podman for it."""
        told = capture(["podman", "inspect", "--format", "{{.State.Pid}}", machine], env=storage.environment())
        pid = int(told)
        assert pid, f"{machine} does not run"
        return FirstProcess(pid, _begun(pid))

    @property
    def is_there(self) -> bool:
        return bool(self.begun) and _begun(self.pid) == self.begun

    @property
    def environment(self) -> dict[str, str]:
        """Its variables, which `podman exec` gives to commands as well."""
        return dict(line.split("=", 1) for line in Path(f"/proc/{self.pid}/environ").read_text().split("\0") if line)


def first_process_in(container: str) -> int:
    """The first process of a pod's container on any machine, as this host numbers it; 0 for none.

    Args:
        container: as the pod's status names it, `containerd://…`.
    """
    mark = f"-{container.rpartition('/')[2]}.scope"
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            numbers = next(line for line in (path / "status").read_text().splitlines() if line.startswith("NSpid:")).split()
            if numbers[-1] == "1" and mark in (path / "cgroup").read_text():
                return int(path.name)
    return 0


def process_in(pod: Mapping[str, Any], name: str) -> int:
    """The first process of one of a pod's containers: machines are containers of this host, which may have another's beside it.

    Args:
        pod: as the API server has it.
        name: of a container, or of one that starts before the others; 0 where it has not been started.
    """
    statuses = [one for kind in ("containerStatuses", "initContainerStatuses") for one in pod["status"].get(kind, ())]
    container = next((status.get("containerID", "") for status in statuses if status["name"] == name), "")
    return first_process_in(container) if container else 0


KNOWN: dict[str, FirstProcess] = {}
"""By machine; one that was started anew is looked up again."""


def first_process(machine: str) -> FirstProcess:
    known = KNOWN.get(machine)
    if known is None or not known.is_there:
        known = KNOWN[machine] = FirstProcess.of(machine)
    return known


def files(machine: str) -> Path:
    """A machine's root folder as this host sees it; an absolute link in it leads to this host's files."""
    return Path(f"/proc/{first_process(machine).pid}/root")


def run_on(
    machine: str, *command: str, user: str = "root", given: str = "", timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command as `podman exec` does, by entering the namespaces: podman, conmon and runc take 0.2 s of a processor."""
    process = first_process(machine)
    become = () if user == "root" else ("runuser", "--user", user, "--")
    return subprocess.run(
        ["nsenter", "--target", str(process.pid), "--all", "--", *become, *command],
        env=process.environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def output_on(machine: str, *command: str, given: str = "", timeout_s: float = 60) -> str:
    """What a command that must end well prints."""
    done = run_on(machine, *command, given=given, timeout_s=timeout_s)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def _begun(pid: int) -> str:
    """The 22nd field of a process' line; what is before the third one may have blanks. Empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""
