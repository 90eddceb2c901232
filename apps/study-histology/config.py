"""Settings of the histology study: the schema of `primage-study-histology:study`."""

from __future__ import annotations

from pydantic import Field

from primage.contract import Quantity, Settings
from primage.stacks.job_settings import BatchJobSettings


class StudySettings(Settings):
    """One run of the study as a batch job."""

    name: str = Field(default="histology", pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$", description="Name of the job.")
    image: str = Field(description="The study's image (images/study-histology).")
    data: str = Field(
        default="idc",
        pattern=r"^[A-Za-z0-9._-]+$",
        description="Folder in DATALAKE with the IDC set; without it, scikit-image's tissue.",
    )
    out: str = Field(default="histology", pattern=r"^[A-Za-z0-9._-]+$", description="Folder in HOME/private for the results.")
    epochs: int = Field(default=5, ge=1, le=200, description="Passes over the training part; the paper's is 5.")
    partitions: int = Field(default=8, ge=1, le=1000, description="CSV files the test part is cut into.")
    stride: int = Field(default=4, ge=1, le=50, description="Pixels between windows of the tissue.")
    cpu: Quantity = Field(default="1500m", description="Processor cores.")
    memory: Quantity = Field(default="3Gi", description="Main memory.")
    deadline_seconds: int = Field(default=3600, ge=60, description="Seconds after which the job is ended.")

    def job(self, mount_point: str) -> BatchJobSettings:
        """The batch job that runs the study, on a site whose volumes are below `mount_point`."""
        home = f"{mount_point}/HOME/private"
        steps = ["--out", f"{home}/{self.out}", "run", "--data", f"{mount_point}/DATALAKE/{self.data}"]
        sizes = [f"--epochs={self.epochs}", f"--partitions={self.partitions}", f"--stride={self.stride}"]
        return BatchJobSettings(
            name=self.name,
            image=self.image,
            args=tuple(steps + sizes),
            cpu=self.cpu,
            memory=self.memory,
            deadline_seconds=self.deadline_seconds,
        )


MODELS = {"study": StudySettings}
