"""Settings of the batch app: the schema of `primage-batch:job`."""

from primage.components.jobs.batch_settings import BatchJobSettings

MODELS = {"job": BatchJobSettings}
