"""What a virtual organisation has on a site before anybody logs in."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as kubernetes

from infra.components.network_policies import NetworkPolicies
from infra.config import NetworkConfig, QuotaConfig
from infra.tenants import Tenant
from primage import names
from primage.contract.quantities import parse_quantity

POD_SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
SCRATCH_DEFAULT = "2Gi"
"""Scratch space of a container that asks for none."""
OTHER_KINDS = (
    "replicationcontrollers",
    "serviceaccounts",
    "deployments.apps",
    "replicasets.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "horizontalpodautoscalers.autoscaling",
    "ingresses.networking.k8s.io",
    "networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy",
    "leases.coordination.k8s.io",
    "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
)
"""What role `edit` may make besides what QuotaConfig names."""


class VirtualOrganisation(pulumi.ComponentResource):
    """A namespace of a VO, its own or a member's, with its limits: quota, defaults, network policies, Pod Security `restricted`."""

    namespace: pulumi.Output[str]
    """Name of the namespace."""

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
        self._labels, vo = tenant.labels, tenant.vo
        space = kubernetes.core.v1.Namespace(
            f"{name}-namespace",
            metadata={
                "name": tenant.namespace,
                "labels": {
                    **self._labels,
                    **POD_SECURITY,
                    names.LABEL_UID: str(tenant.uid),
                    names.LABEL_GID: str(vo.gid),
                },
                "annotations": {
                    names.ANNOTATION_SCRATCH: vo.scratch_max,
                    "primage.eu/vo-name": vo.name,
                    **({"primage.eu/user-name": tenant.user.name} if tenant.user else {}),
                },
            },
            opts=pulumi.ResourceOptions(parent=self, protect=protect),
        )
        self.namespace = space.metadata.name
        inside = pulumi.ResourceOptions(parent=self, depends_on=[space])
        self._limits(name, tenant, inside)
        NetworkPolicies(f"{name}-network", tenant, network, namespace=self.namespace, opts=inside)
        kubernetes.core.v1.ConfigMap(
            f"{name}-config",
            metadata=self._metadata(names.CONFIG_MAP),
            data={names.CONFIG_MAP_PROVIDER_KEY: oneprovider, names.CONFIG_MAP_MOUNT_KEY: mount_point},
            opts=inside,
        )
        self.register_outputs({"namespace": self.namespace})

    def _metadata(self, name: str) -> dict[str, object]:
        return {"name": name, "namespace": self.namespace, "labels": self._labels}

    def _limits(self, name: str, tenant: Tenant, opts: pulumi.ResourceOptions) -> None:
        vo = tenant.vo
        kubernetes.core.v1.ResourceQuota(
            f"{name}-quota", metadata=self._metadata("vo"), spec={"hard": _hard(tenant.quota)}, opts=opts
        )
        default = {"cpu": vo.container_default.cpu, "memory": vo.container_default.memory}
        largest = {"cpu": vo.container_max.cpu, "memory": vo.container_max.memory} if vo.container_max else {}
        limit = {
            "type": "Container",
            "default": {**default, "ephemeral-storage": min(SCRATCH_DEFAULT, vo.scratch_max, key=parse_quantity)},
            "defaultRequest": {**default, "ephemeral-storage": "100Mi"},
            "max": {**largest, "ephemeral-storage": vo.scratch_max},
        }
        kubernetes.core.v1.LimitRange(f"{name}-limits", metadata=self._metadata("vo"), spec={"limits": [limit]}, opts=opts)


def _hard(quota: QuotaConfig) -> dict[str, str]:
    """A ResourceQuota's limits: what pods use, and how many objects of every kind there may be."""
    return {
        "requests.cpu": quota.cpu,
        "limits.cpu": quota.cpu,
        "requests.memory": quota.memory,
        "limits.memory": quota.memory,
        "requests.nvidia.com/gpu": str(quota.gpu),
        "requests.ephemeral-storage": quota.ephemeral_storage,
        "limits.ephemeral-storage": quota.ephemeral_storage,
        "pods": str(quota.pods),
        "count/pods": str(quota.pods_kept),
        "count/jobs.batch": str(quota.jobs),
        "count/cronjobs.batch": str(quota.cron_jobs),
        "count/configmaps": str(quota.config_maps),
        "count/secrets": str(quota.secrets),
        "count/services": str(quota.services),
        "count/persistentvolumeclaims": str(quota.claims),
        **{f"count/{kind}": str(quota.objects) for kind in OTHER_KINDS},
        # The paper's templates opened node ports; routes go through the gateway instead.
        "services.nodeports": "0",
        "services.loadbalancers": "0",
    }
