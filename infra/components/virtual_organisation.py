"""What a virtual organisation has on a site before anybody logs in."""

from __future__ import annotations

import pulumi

from infra.components.network_policies import NetworkPolicies
from primage.components.kubernetes_object import declare
from primage.contract.networks import NetworkConfig
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import limits, namespace


class VirtualOrganisation(pulumi.ComponentResource):
    """A namespace of a VO, its own or a member's, with its limits: quota, defaults, network policies, Pod Security `restricted`."""

    def __init__(
        self,
        name: str,
        tenant: Tenant,
        *,
        mount_point: str,
        oneprovider: str,
        network: NetworkConfig,
        protect: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:VirtualOrganisation", name, {}, opts)
        space = declare(f"{name}-namespace", namespace.namespace(tenant), pulumi.ResourceOptions(parent=self, protect=protect))
        inside = pulumi.ResourceOptions(parent=self, depends_on=[space])
        config = namespace.config(tenant, mount_point=mount_point, oneprovider=oneprovider)
        declare(f"{name}-quota", limits.quota(tenant), inside)
        declare(f"{name}-limits", limits.limits(tenant), inside)
        declare(f"{name}-config", config, inside)
        NetworkPolicies(f"{name}-network", tenant, network, opts=inside)
        self.register_outputs({})
