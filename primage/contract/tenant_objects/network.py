"""What a tenant's pods may reach, and who may reach them."""

from __future__ import annotations

from collections.abc import Sequence

from primage.contract import names, networks
from primage.contract.networks import NetworkConfig
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object, inside

DNS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
}
"""The cluster's DNS servers, as kubeadm and most others label them."""
DNS_PORTS = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]


def network_policies(tenant: Tenant, network: NetworkConfig) -> list[Object]:
    """What its pods may reach, and who may reach them: nothing, and then what is named here.

    Those of apps only open ways inside the namespace (infra/admission.py sees to that).
    """
    own: list[Object] = [{"podSelector": {}}]
    # Queues and the like are reached by those their own policy names, not by everybody in the namespace.
    open_ones = {"matchExpressions": [{"key": names.LABEL_PRIVATE, "operator": "DoesNotExist"}]}
    specs: dict[str, Object] = {
        "default-deny": {"policyTypes": ["Ingress", "Egress"]},
        "allow-dns": {"policyTypes": ["Egress"], "egress": [{"to": [DNS], "ports": DNS_PORTS}]},
        "allow-own-namespace": {"policyTypes": ["Egress"], "egress": [{"to": own}]},
        "accept-own-namespace": {"podSelector": open_ones, "policyTypes": ["Ingress"], "ingress": [{"from": own}]},
    }
    if network.api_servers:
        specs["allow-api"] = to_api(network)
    if tenant.vo.egress:
        blocks = [outside(cidr, network.machines) for cidr in tenant.vo.egress]
        specs["allow-egress"] = {"policyTypes": ["Egress"], "egress": [{"to": blocks}]}
    kind = ("networking.k8s.io/v1", "NetworkPolicy")
    return [inside(tenant, *kind, name, spec={"podSelector": {}, **spec}) for name, spec in specs.items()]


def outside(cidr: str, others: Sequence[str]) -> Object:
    """A network without those of others that lie in it, such as the site's own machines."""
    among = [own for own in others if networks.inside(own, cidr)]
    return {"ipBlock": {"cidr": cidr, **({"except": among} if among else {})}}


def to_api(network: NetworkConfig) -> Object:
    """For pods that hold a token. A policy sees the API server's own address, not that of its Service."""
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in network.api_servers]
    return {
        "podSelector": {"matchLabels": {names.LABEL_API_ACCESS: "true"}},
        "policyTypes": ["Egress"],
        "egress": [{"to": blocks, "ports": [{"protocol": "TCP", "port": network.api_port}]}],
    }
