"""What runs on the HPC machine: the scripts of folder `remote`, and the files an attempt is made of."""

from __future__ import annotations

import shlex
from functools import cache
from importlib import resources

from hpc_connector.domain.request import Request
from primage.contract.hpc import NO_IMAGE


@cache
def script(name: str) -> str:
    """A script of folder `remote`."""
    return (resources.files("hpc_connector") / "remote" / f"{name}.sh").read_text()


def attempt_files(request: Request, proxy: str = "") -> dict[str, tuple[str, int]]:
    """Text and mode of each file that an attempt is made of.

    Args:
        proxy: where the grid proxy credential is there; empty where there is none.
    """
    quoted = [shlex.quote(text) for text in request.arguments]
    # Beside the program, wherever the attempt's folder is; a script without an interpreter of its own is Bash's.
    program = ['"${0%/*}/program"'] if request.script.startswith("#!") else ["/bin/bash", '"${0%/*}/program"']
    image = [] if request.image == NO_IMAGE else ["apptainer", "exec", '--bind "$MOUNT_POINT,${0%/*}"', shlex.quote(request.image)]
    variables = [*([f"X509_USER_PROXY={proxy}"] if proxy else []), *(f"{key}={value}" for key, value in request.environment)]
    return {
        "run.sh": (script("run"), 0o700),
        "outputs.sh": (script("outputs"), 0o600),
        "command": ("#!/bin/bash\nexec " + " ".join([*image, *program, *quoted]) + "\n", 0o700),
        "program": (request.script, 0o700),
        # Between NULs, for `env`: no shell reads it, so that no name in it means anything to one.
        "environment": ("".join(f"{text}\0" for text in variables), 0o600),
    }
