"""Settings of jobs, apart from the components so that checking a file needs no Pulumi."""

from __future__ import annotations

from pydantic import Field, model_validator

from primage.contract.outputs import Settings, SomeQuantity
from primage.contract.spelling import JobName

PLATFORM_ENVIRONMENT = frozenset(
    {
        "HOME",
        "MOUNT_POINT",
        "ONECLIENT_ACCESS_TOKEN",
        "ONECLIENT_PROVIDER_HOST",
        "PRIMAGE_BASE_PATH",
        "PRIMAGE_HOST",
        "PRIMAGE_QUEUE",
        "PRIMAGE_QUEUE_CREDENTIALS",
        "PRIMAGE_QUEUE_ROUND",
        "PRIMAGE_QUEUE_START_S",
        "PRIMAGE_TOKEN_FILE",
    }
)


class ContainerSettings(Settings):
    """What a job's container is given, whatever it runs."""

    env: dict[str, str] = Field(default={}, description="Environment variables besides the platform's own.")
    cpu: SomeQuantity = Field(default="1", description="Processor cores, requested and at most.")
    memory: SomeQuantity = Field(default="1Gi", description="Main memory, requested and at most.")
    gpu: int = Field(default=0, ge=0, description="GPUs.")
    scratch: SomeQuantity = Field(default="1Gi", description="Size of /tmp, which is gone with the pod.")
    node_selector: dict[str, str] = Field(default={}, description="Labels a node must have.")

    @model_validator(mode="after")
    def _own_names(self) -> ContainerSettings:
        taken = PLATFORM_ENVIRONMENT & set(self.env)
        if taken:
            raise ValueError(f"env: {', '.join(sorted(taken))} is set by the platform")
        return self


class BatchJobSettings(ContainerSettings):
    """Parameters of a batch job."""

    name: JobName = Field(description="Name of the job (the paper's batch_job_name).")
    image: str = Field(min_length=1, description="Container image, by digest or by a tag that never moves.")
    command: tuple[str, ...] = Field(default=(), description="Program to run in place of the image's own.")
    args: tuple[str, ...] = Field(default=(), description="Command line arguments.")
    priority: str = Field(default="", description="One of the site's priority classes; empty for its default.")
    backoff_limit: int = Field(default=2, ge=0, le=20, description="How often a failed pod is tried again.")
    deadline_seconds: int = Field(
        default=3600, ge=1, description="Seconds after which the job is ended, tries and waiting included."
    )
    keep_seconds: int = Field(default=7 * 86400, ge=0, description="Seconds a finished job, with its log, is kept.")
