"""Settings of the htc app: the schema of `primage-htc:htc`."""

from primage.components.queues.htc_settings import HtcSettings

MODELS = {"htc": HtcSettings}
