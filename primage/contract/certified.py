"""What a server of the site's own proves itself with."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from primage.contract.outputs import Settings


class Certified(Settings):
    """A server of the site's own that is reached by TLS."""

    authority_folder: str = Field(
        default="",
        max_length=1024,
        description="Folder with ca.crt and ca.key of an authority, which makes its certificate, relative to the repository.",
    )
    certificate: str = Field(
        default="",
        max_length=253,
        description="Or the Secret in namespace primage-system, of cert-manager say, that has tls.crt, tls.key and ca.crt.",
    )

    @model_validator(mode="after")
    def _certified(self) -> Self:
        if bool(self.authority_folder) == bool(self.certificate):
            raise ValueError("exactly one of authority_folder and certificate has to be given: nobody logs in without TLS")
        return self
