"""How an attempt is submitted to Slurm, and how it is known again in Slurm's queue."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import PurePosixPath
from typing import Any

from hpc_connector.domain.request import Request
from primage.contract.hpc import Backend

UID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""Kubernetes' uids, as a regular expression."""


def comment(owner: str, uid: str, attempt: int | str) -> str:
    """What a Slurm job says whose it is: cluster's namespace, Job, attempt."""
    return f"primage:{owner}:{uid}:{attempt}"


def read_comment(text: str, owner: str) -> tuple[str, int] | None:
    """The Job's uid and the attempt that a comment is of; None for another's."""
    mine = re.fullmatch(rf"primage:{re.escape(owner)}:({UID}):([1-9][0-9]{{0,3}})", text)
    return (mine[1], int(mine[2])) if mine else None


def sbatch_options(request: Request, backend: Backend, owner: str, attempt: int) -> list[str]:
    """Options of sbatch; nothing a person wrote goes through a shell."""
    options = [
        f"--comment={comment(owner, request.uid, attempt)}",
        f"--job-name={request.name}",
        "--no-requeue",
        "--parsable",
        "--nodes=1",
        "--ntasks=1",
        "--open-mode=append",
    ]
    partition = request.partition or backend.partition
    options += [f"--partition={partition}"] if partition else []
    options += [f"--account={backend.account}"] if backend.account else []
    options += [f"--cpus-per-task={request.cpus}"] if request.cpus else []
    options += [f"--mem={request.memory_mib}M"] if request.memory_mib else []
    options += [f"--gres=gpu:{request.gpus}"] if request.gpus else []
    options += [f"--time={math.ceil(request.seconds / 60)}"] if request.seconds else []
    return options


def rest_submission(request: Request, backend: Backend, owner: str, attempt: int, folder: str) -> dict[str, Any]:
    """The body of slurmrestd's `job/submit`, for an attempt whose files are in `folder`."""
    partition = request.partition or backend.partition
    wanted: dict[str, Any] = {
        "partition": partition,
        "account": backend.account,
        "cpus_per_task": request.cpus,
        "memory_per_node": request.memory_mib,
        "gres": f"gpu:{request.gpus}" if request.gpus else "",
        "time_limit": math.ceil(request.seconds / 60),
    }
    job = {
        "name": request.name,
        "comment": comment(owner, request.uid, attempt),
        "requeue": False,
        "nodes": [1, 1],
        "tasks": 1,
        "open_mode": "append",
        "current_working_directory": str(PurePosixPath(folder).parent),
        "standard_output": f"{folder}/output",
        "standard_error": f"{folder}/output",
        "environment": {"PATH": "/usr/local/bin:/usr/bin:/bin"},
    }
    script = f"#!/bin/bash\nexec {shlex.quote(f'{folder}/run.sh')} {shlex.quote(folder)}\n"
    return {"script": script, "job": {**job, **{key: value for key, value in wanted.items() if value}}}
