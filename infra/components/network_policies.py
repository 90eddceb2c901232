"""What pods of a tenant's namespace may reach, and who may reach them: nothing, and then what is named here."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_kubernetes as kubernetes

from infra.config import NetworkConfig, inside
from infra.tenants import Tenant
from primage import names

DNS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
}
"""The cluster's DNS servers, as kubeadm and most others label them."""


class NetworkPolicies(pulumi.ComponentResource):
    """The policies of one namespace. Those of apps only open ways inside it (infra/admission.py sees to that)."""

    def __init__(
        self,
        name: str,
        tenant: Tenant,
        network: NetworkConfig,
        *,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:NetworkPolicies", name, {}, opts)
        self._name, self._namespace, self._labels = name, namespace, tenant.labels
        own: list[dict[str, object]] = [{"podSelector": {}}]
        self._policy("default-deny", {"policyTypes": ["Ingress", "Egress"]})
        dns_ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
        self._policy("allow-dns", {"policyTypes": ["Egress"], "egress": [{"to": [DNS], "ports": dns_ports}]})
        self._policy("allow-own-namespace", {"policyTypes": ["Egress"], "egress": [{"to": own}]})
        # Queues and the like are reached by those their own policy names, not by everybody in the namespace.
        open_ones = {"matchExpressions": [{"key": names.LABEL_PRIVATE, "operator": "DoesNotExist"}]}
        self._policy("accept-own-namespace", {"podSelector": open_ones, "policyTypes": ["Ingress"], "ingress": [{"from": own}]})
        if network.api_servers:
            self._policy("allow-api", _to_api(network))
        if tenant.vo.egress:
            blocks = [_outside(cidr, network.machines) for cidr in tenant.vo.egress]
            self._policy("allow-egress", {"policyTypes": ["Egress"], "egress": [{"to": blocks}]})
        self.register_outputs({})

    def _policy(self, label: str, spec: dict[str, object]) -> None:
        kubernetes.networking.v1.NetworkPolicy(
            f"{self._name}-{label}",
            metadata={"name": label, "namespace": self._namespace, "labels": self._labels},
            spec={"podSelector": {}, **spec},
            opts=pulumi.ResourceOptions(parent=self),
        )


def _outside(cidr: str, machines: Sequence[str]) -> dict[str, object]:
    """A network without the site's own machines in it."""
    among = [own for own in machines if inside(own, cidr)]
    return {"ipBlock": {"cidr": cidr, **({"except": among} if among else {})}}


def _to_api(network: NetworkConfig) -> dict[str, object]:
    """For pods that hold a token. A policy sees the API server's own address, not that of its Service."""
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in network.api_servers]
    return {
        "podSelector": {"matchLabels": {names.LABEL_API_ACCESS: "true"}},
        "policyTypes": ["Egress"],
        "egress": [{"to": blocks, "ports": [{"protocol": "TCP", "port": network.api_port}]}],
    }
