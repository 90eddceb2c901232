"""What pods answer."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Said(BaseModel):
    """What a pod answers. Whoever may enter the pod decides it, so it is checked strictly."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
