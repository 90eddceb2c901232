"""Settings of the histology study: the schema of `primage-study-histology:study`."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from primage.components.jobs.batch_settings import BatchJobSettings
from primage.components.jobs.hpc_settings import HpcJobSettings
from primage.components.queues.htc_settings import ConsumerSettings, HtcSettings, ProducerSettings
from primage.contract.outputs import Settings, SomeQuantity
from primage.contract.spelling import FolderName, ShortName


class Stage(StrEnum):
    """Which part of the study a stack is."""

    ALL = "all"
    """Everything, one step after the other, in one batch job."""
    TRAIN = "train"
    """Cut the patches and train, on an HPC backend or as a batch job; predictions of an earlier model go."""
    BATCH = "batch"
    """Test as one batch job."""
    HTC = "htc"
    """Test as a high-throughput application: a consumer takes a partition at a time."""
    REPORT = "report"
    """Combine the predictions of HTC, having checked that batch's are the same; run the notebook that shows them."""


STEPS = {
    Stage.ALL: ("prepare", "train", "predict", "report", "notebook"),
    Stage.TRAIN: ("prepare", "train"),
    Stage.BATCH: ("predict",),
    Stage.REPORT: ("report", "notebook"),
}
RESULTS = {Stage.BATCH: "predictions-batch", Stage.HTC: "predictions-htc", Stage.REPORT: "predictions-htc"}

HPC_SCRIPT = """\
set -eu
[ ! -e "$SOFTWARE/activate" ] || . "$SOFTWARE/activate"
exec python3 -m study_histology --out "$HOME/$OUT" run --data "$MOUNT_POINT/DATALAKE/$DATA" "$@"
"""
"""Stage train on an HPC machine; its software is what the centre installed, or what PYTHONPATH already has."""


class StudySettings(Settings):
    """One run of the study."""

    stage: Stage = Field(default=Stage.ALL, description="Which part of the study: all, train, batch, htc or report.")
    name: ShortName = Field(default="histology", description="Name of the job.")
    image: str = Field(description="The study's image (images/study-histology).")
    data: FolderName = Field(
        default="idc",
        description="Folder in DATALAKE with the IDC set; without it, scikit-image's tissue.",
    )
    out: FolderName = Field(default="histology", description="Folder in HOME/private for the results.")
    epochs: int = Field(default=5, ge=1, le=200, description="Passes over the training part; the paper's is 5.")
    hpc: str = Field(default="", description="HPC backend that stage train runs on; empty for a batch job.")
    hpc_software: str = Field(
        default="/opt/primage/study-histology", description="Folder on the HPC machine with the study's `activate` script."
    )
    partitions: int = Field(
        default=128,
        ge=1,
        le=1000,
        description="CSV files the test part is cut into; many more than consumers, so that all of them end together.",
    )
    stride: int = Field(default=5, ge=1, le=50, description="Pixels between windows of the tissue, for training.")
    test_stride: int = Field(default=1, ge=1, le=50, description="The same for testing.")
    consumers: int = Field(default=4, ge=1, le=1000, description="Consumers of stage htc; the paper's table has 4.")
    test_cpu: SomeQuantity = Field(
        default="850m",
        description="Processor cores of a process that tests, be it the batch job or a consumer. It would use a whole one; "
        "the rest is left to Kubernetes itself, so that each consumer is as fast as the batch job.",
    )
    test_memory: SomeQuantity = Field(default="512Mi", description="Main memory of a process that tests.")
    cpu: SomeQuantity = Field(default="1500m", description="Processor cores of the jobs that train and report.")
    memory: SomeQuantity = Field(default="3Gi", description="Main memory of the jobs that train and report.")
    deadline_seconds: int = Field(default=3600, ge=60, description="Seconds after which the job is ended.")

    def job(self, mount_point: str) -> BatchJobSettings:
        """The batch job of the stage, on a site whose volumes are below `mount_point`."""
        options = ["--out", f"{mount_point}/HOME/private/{self.out}", "run", "--data", f"{mount_point}/DATALAKE/{self.data}"]
        options += self._cutting()
        options += [f"--results={RESULTS[self.stage]}"] if self.stage in RESULTS else []
        options += [f"--same={RESULTS[Stage.BATCH]}"] if self.stage is Stage.REPORT else []
        options += ["--fresh"] if self.stage is Stage.TRAIN else []
        return BatchJobSettings(
            name=self.name,
            image=self.image,
            args=(*options, "--steps", *STEPS[self.stage]),
            cpu=self.test_cpu if self.stage is Stage.BATCH else self.cpu,
            memory=self.test_memory if self.stage is Stage.BATCH else self.memory,
            deadline_seconds=self.deadline_seconds,
        )

    def _cutting(self) -> list[str]:
        return [
            f"--epochs={self.epochs}",
            f"--partitions={self.partitions}",
            f"--stride={self.stride}",
            f"--test-stride={self.test_stride}",
        ]

    def hpc_job(self) -> HpcJobSettings:
        """Stage train on an HPC backend; what it makes comes back to HOME."""
        return HpcJobSettings(
            name=self.name,
            host=self.hpc,
            script=HPC_SCRIPT,
            args=(*self._cutting(), "--fresh", "--steps", *STEPS[Stage.TRAIN]),
            env={"OUT": self.out, "DATA": self.data, "SOFTWARE": self.hpc_software},
            outputs=(self.out,),
            cpu=self.cpu,
            memory=self.memory,
            deadline_seconds=self.deadline_seconds,
        )

    def application(self) -> HtcSettings:
        """The high-throughput application of stage htc: a partition's path is an argument."""
        return HtcSettings(
            name=self.name,
            parallelism=self.consumers,
            producer=ProducerSettings(files=f"{self.out}/partitions/p*.csv"),
            consumer=ConsumerSettings(
                image=self.image,
                bring_queue=False,
                call="study_histology.predict:predict_path",
                env={"HISTOLOGY_RESULTS": RESULTS[Stage.HTC]},
                cpu=self.test_cpu,
                memory=self.test_memory,
            ),
            deadline_seconds=self.deadline_seconds,
        )


MODELS = {"study": StudySettings}
"""Setting by setting, its schema: what `primage validate` checks a stack's file against."""
