"""Settings of the batch app: the schema of `primage-batch:job`."""

from primage.stacks.job_settings import BatchJobSettings

MODELS = {"job": BatchJobSettings}
