"""A tenant's way to HPC centres."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from primage.components.kubernetes_object import declare
from primage.contract.hpc_centres import HpcBackendConfig
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import hpc_connector


class HpcConnector(pulumi.ComponentResource):
    """Config maps of the centres, for people, and one connector in a namespace.

    Args:
        image: of the connector.
    """

    def __init__(
        self,
        name: str,
        image: str,
        centres: Sequence[HpcBackendConfig],
        tenant: Tenant,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:HpcConnector", name, {}, opts)
        here = pulumi.ResourceOptions(parent=self)
        for centre in centres:
            declare(f"{name}-backend-{centre.name}", hpc_connector.backend(tenant, centre), here)
        declare(f"{name}-policy", hpc_connector.network_policy(tenant, centres), here)
        needed = [
            declare(f"{name}-account", hpc_connector.account(tenant), here),
            declare(f"{name}-role", hpc_connector.role(tenant, centres), here),
            declare(f"{name}-binding", hpc_connector.binding(tenant), here),
        ]
        after = pulumi.ResourceOptions(parent=self, depends_on=needed)
        declare(f"{name}-deployment", hpc_connector.deployment(tenant, centres, image), after)
        self.register_outputs({})
