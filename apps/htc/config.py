"""Settings of the htc app: the schema of `primage-htc:htc`."""

from primage.stacks.htc_settings import HtcSettings

MODELS = {"htc": HtcSettings}
