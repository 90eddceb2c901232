"""Settings of the hpc app: the schema of `primage-hpc:job`."""

from primage.stacks.hpc_settings import HpcJobSettings

MODELS = {"job": HpcJobSettings}
