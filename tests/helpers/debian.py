"""Programs of Debian's that only tests need."""

from __future__ import annotations

import shutil
import subprocess

from turns import turn


def ensure_program(program: str, *packages: str) -> None:
    """Install packages where a program is not on PATH; of processes that test side by side, one does."""
    with turn(f"debian-{packages[0]}"):
        if shutil.which(program) is None:
            for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
                subprocess.run(["apt-get", "-qq", *command], capture_output=True, timeout=600, check=True)
