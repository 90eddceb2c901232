"""What pods of a tenant's namespace may reach, and who may reach them."""

from __future__ import annotations

import pulumi

from primage.components.kubernetes_object import declare
from primage.contract.networks import NetworkConfig
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.network import network_policies


class NetworkPolicies(pulumi.ComponentResource):
    """The policies of one namespace."""

    def __init__(self, name: str, tenant: Tenant, network: NetworkConfig, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:site:NetworkPolicies", name, {}, opts)
        for policy in network_policies(tenant, network):
            declare(f"{name}-{policy['metadata']['name']}", policy, pulumi.ResourceOptions(parent=self))
        self.register_outputs({})
