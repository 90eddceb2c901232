"""Settings of HPC jobs, apart from the component so that checking a file needs no Pulumi."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from primage.contract.hpc import LONGEST_PERIOD_S, PERIOD_S
from primage.contract.outputs import Settings, SomeQuantity
from primage.contract.spelling import JobName, Partition

PLATFORM_ENVIRONMENT = frozenset({"HOME", "MOUNT_POINT", "X509_USER_PROXY"})


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    shortest = str(pure)  # what is checked is what is used: `./-x` is `-x`
    if shortest == "." or shortest.startswith(("/", "-")) or ".." in pure.parts or "\0" in path:
        raise ValueError(f"{path!r} is not a path below HOME/private")
    return path


InHome = Annotated[str, AfterValidator(_inside)]


class HpcJobSettings(Settings):
    """The paper's HPC job (figure 8): host, script, monitoring_period; and what Kubernetes' jobs have besides."""

    PROGRAMS = frozenset({"script"})

    name: JobName = Field(description="Name of the job.")
    host: str = Field(min_length=1, description="The HPC backend: its name, or its ENDPOINT.")
    script: str = Field(
        min_length=1,
        description="The program: a Bash script, or any with a #! line. Its #SBATCH lines are comments like any other.",
    )
    args: tuple[str, ...] = Field(default=(), description="Arguments of the script.")
    env: dict[str, str] = Field(default={}, description="Environment variables besides the platform's own.")
    image: str = Field(default="", description="Apptainer image to run it in; empty for plain on the HPC machine.")
    inputs: tuple[InHome, ...] = Field(default=(), description="Files and folders below HOME/private that it reads.")
    outputs: tuple[InHome, ...] = Field(default=(), description="Files and folders below HOME/private that it makes.")
    partition: Partition = Field(default="", description="Slurm partition; empty for the backend's.")
    cpu: SomeQuantity = Field(default="1", description="Processor cores.")
    memory: SomeQuantity = Field(default="1Gi", description="Main memory.")
    gpu: int = Field(default=0, ge=0, description="GPUs.")
    monitoring_period: int = Field(
        default=PERIOD_S, ge=1, le=LONGEST_PERIOD_S, description="Longest time between two looks at it, seconds."
    )
    backoff_limit: int = Field(default=2, ge=0, le=20, description="How often a failed attempt is tried again.")
    deadline_seconds: int = Field(default=3600, ge=1, description="Seconds after which it is ended, tries and waiting included.")
    keep_seconds: int = Field(default=7 * 86400, ge=0, description="Seconds a finished job is kept; its output stays in HOME.")

    @model_validator(mode="after")
    def _own_names(self) -> HpcJobSettings:
        taken = PLATFORM_ENVIRONMENT & set(self.env)
        if taken:
            raise ValueError(f"env: {', '.join(sorted(taken))} is set by the platform")
        if "\0" in self.script:
            raise ValueError("script: holds a NUL byte")
        return self
