"""The two shared volumes of a site."""

from __future__ import annotations

from pydantic import Field, model_validator

from primage.contract.outputs import Settings
from primage.contract.volumes import Volume


class VolumesConfig(Settings):
    """The shared volumes, by the names the paper gives them."""

    datalake: Volume = Field(description="Images, read-only for jobs.")
    home: Volume = Field(description="A private folder per user and a shared folder per VO.")

    @model_validator(mode="after")
    def _apart(self) -> VolumesConfig:
        lake, home = f"{self.datalake.place}/", f"{self.home.place}/"
        if lake.startswith(home) or home.startswith(lake):
            raise ValueError(f"datalake ({self.datalake.place}) and home ({self.home.place}) must not lie in each other")
        return self
