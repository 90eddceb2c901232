"""What a virtual organisation has on a site before anybody logs in."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as kubernetes

from infra.config import VoConfig
from infra.tenants import Tenant
from primage import names

POD_SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


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
        protect: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:VirtualOrganisation", name, {}, opts)
        self._labels, vo = tenant.labels, tenant.vo
        space = kubernetes.core.v1.Namespace(
            f"{name}-namespace",
            metadata={
                "name": tenant.namespace,
                "labels": {**self._labels, **POD_SECURITY},
                "annotations": {
                    "primage.eu/vo-name": vo.name,
                    **({"primage.eu/user-name": tenant.user.name} if tenant.user else {}),
                },
            },
            opts=pulumi.ResourceOptions(parent=self, protect=protect),
        )
        self.namespace = space.metadata.name
        inside = pulumi.ResourceOptions(parent=self, depends_on=[space])
        self._limits(name, tenant, inside)
        self._network(name, vo, inside)
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
        vo, quota = tenant.vo, tenant.quota
        kubernetes.core.v1.ResourceQuota(
            f"{name}-quota",
            metadata=self._metadata("vo"),
            spec={
                "hard": {
                    "requests.cpu": quota.cpu,
                    "limits.cpu": quota.cpu,
                    "requests.memory": quota.memory,
                    "limits.memory": quota.memory,
                    "requests.nvidia.com/gpu": str(quota.gpu),
                    "requests.ephemeral-storage": quota.ephemeral_storage,
                    "pods": str(quota.pods),
                    "count/jobs.batch": str(quota.jobs),
                    # The paper's templates opened node ports; routes go through the gateway instead.
                    "services.nodeports": "0",
                    "services.loadbalancers": "0",
                }
            },
            opts=opts,
        )
        default = {"cpu": vo.container_default.cpu, "memory": vo.container_default.memory}
        limit: dict[str, object] = {
            "type": "Container",
            "default": {**default, "ephemeral-storage": "2Gi"},
            "defaultRequest": {**default, "ephemeral-storage": "100Mi"},
        }
        if vo.container_max:
            limit["max"] = {"cpu": vo.container_max.cpu, "memory": vo.container_max.memory}
        kubernetes.core.v1.LimitRange(f"{name}-limits", metadata=self._metadata("vo"), spec={"limits": [limit]}, opts=opts)

    def _network(self, name: str, vo: VoConfig, opts: pulumi.ResourceOptions) -> None:
        def policy(label: str, spec: dict[str, object]) -> None:
            kubernetes.networking.v1.NetworkPolicy(
                f"{name}-{label}", metadata=self._metadata(label), spec={"podSelector": {}, **spec}, opts=opts
            )

        policy("default-deny", {"policyTypes": ["Ingress", "Egress"]})
        dns_ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
        system = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
        policy("allow-dns", {"policyTypes": ["Egress"], "egress": [{"to": [system], "ports": dns_ports}]})
        own: list[dict[str, object]] = [{"podSelector": {}}]
        policy("allow-own-namespace", {"policyTypes": ["Egress"], "egress": [{"to": own}]})
        # Queues and the like are reached by those their own policy names, not by everybody in the namespace.
        open_ones = {"matchExpressions": [{"key": names.LABEL_PRIVATE, "operator": "DoesNotExist"}]}
        policy("accept-own-namespace", {"podSelector": open_ones, "policyTypes": ["Ingress"], "ingress": [{"from": own}]})
        if vo.egress:
            blocks = [{"ipBlock": {"cidr": cidr}} for cidr in vo.egress]
            policy("allow-egress", {"policyTypes": ["Egress"], "egress": [{"to": blocks}]})
