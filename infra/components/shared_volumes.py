"""DATALAKE and HOME in a namespace, by persistent volume claims, whatever they are kept on."""

from __future__ import annotations

import pulumi

from infra.config import VolumesConfig
from primage.components.kubernetes_object import declare
from primage.contract import names, tenant_objects
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import Share


def shares(tenant: Tenant, volumes: VolumesConfig) -> list[Share]:
    """A tenant's three claims: `datalake` (read-only), `home-private`, `home-shared`."""
    cut_from = {
        names.CLAIM_DATALAKE: volumes.datalake,
        names.CLAIM_HOME_PRIVATE: volumes.home,
        names.CLAIM_HOME_SHARED: volumes.home,
    }
    return [
        Share(claim, cut_from[claim].capacity, cut_from[claim].folder(below), writable=claim != names.CLAIM_DATALAKE)
        for claim, below in tenant_objects.folders(tenant).items()
    ]


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
        for share in shares(tenant, volumes):
            here = pulumi.ResourceOptions(parent=self, protect=protect)
            volume = declare(f"{name}-{share.claim}-volume", tenant_objects.volume(tenant, share), here)
            behind = pulumi.ResourceOptions(parent=self, protect=protect, depends_on=[volume])
            declare(f"{name}-{share.claim}", tenant_objects.claim(tenant, share), behind)
        self.register_outputs({})
