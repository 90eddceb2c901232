"""DATALAKE and HOME in a namespace, by persistent volume claims, whatever they are kept on."""

from __future__ import annotations

import pulumi

from primage.components.kubernetes_object import declare
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import claims
from primage.contract.volumes.settings import VolumesConfig


class SharedVolumes(pulumi.ComponentResource):
    """A tenant's claims, and the volume of each.

    Volumes are retained: deleting a claim, or the whole stack, leaves the data where it is. What makes the namespace and the
    folders comes before it, by its options.
    """

    def __init__(
        self,
        name: str,
        tenant: Tenant,
        volumes: VolumesConfig,
        *,
        protect: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:SharedVolumes", name, {}, opts)
        for share in claims.shares(tenant, volumes):
            here = pulumi.ResourceOptions(parent=self, protect=protect)
            volume = declare(f"{name}-{share.claim}-volume", claims.volume(tenant, share), here)
            behind = pulumi.ResourceOptions(parent=self, protect=protect, depends_on=[volume])
            declare(f"{name}-{share.claim}", claims.claim(tenant, share), behind)
        self.register_outputs({})
