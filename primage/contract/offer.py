"""What a site has for every tenant alike: the site program writes it down, and the authorizer makes tenants' objects with it."""

from __future__ import annotations

import hashlib

from pydantic import Field

from primage.contract.hpc_centres import HpcConfig
from primage.contract.login import LoginConfig
from primage.contract.networks import NetworkConfig
from primage.contract.outputs import Settings
from primage.contract.spelling import AbsolutePath
from primage.contract.tenant_secrets import TenantSecretsConfig
from primage.contract.volumes.settings import VolumesConfig

CONFIG_MAP = "site-offer"
KEY = "offer.json"
"""The config map in the system's namespace, and the key in it."""


class SiteOffer(Settings):
    """A site as its tenants find it.

    Attributes:
        labels: what every object of a tenant carries besides the tenant's own.
        protect: tenants' namespaces and volumes are not deleted, whoever deletes their custom resource.
        hpc: with the connector's image as nodes are to pull it.
    """

    labels: dict[str, str] = Field(description="Labels of everything.")
    protect: bool = Field(description="Keep namespaces and volumes.")
    mount_point: AbsolutePath = Field(description="Where jobs find DATALAKE and HOME.")
    oneprovider: str = Field(description="Host of the nearest Oneprovider; empty where there is none.")
    network: NetworkConfig = Field(description="What pods may reach.")
    volumes: VolumesConfig = Field(description="The shared volumes.")
    hpc: HpcConfig = Field(description="HPC centres.")
    login: LoginConfig | None = Field(default=None, description="Whose word says who is a member.")
    secrets: TenantSecretsConfig = Field(default=TenantSecretsConfig(), description="Secrets that tenants have copies of.")

    @property
    def digest(self) -> str:
        """What tells it from any other."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
