"""Settings of the hpc app: the schema of `primage-hpc:job`."""

from primage.components.jobs.hpc_settings import HpcJobSettings

MODELS = {"job": HpcJobSettings}
