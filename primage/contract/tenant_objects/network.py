"""What a tenant's pods may reach, and who may reach them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from primage.contract import names, networks
from primage.contract.gateway import GATEWAY, PROXY_PORT, GatewayConfig
from primage.contract.login import KEYCLOAK, KEYCLOAK_PORT, LoginConfig
from primage.contract.networks import ANYWHERE, NetworkConfig, own_network
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object, inside

DNS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
}
"""The cluster's DNS servers, as kubeadm and most others label them."""
DNS_PORTS = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
TO_NAMES: Object = {"to": [DNS], "ports": DNS_PORTS}
"""To the cluster's DNS, for what goes by a name."""


def network_policies(tenant: Tenant, network: NetworkConfig, login: LoginConfig | None) -> list[Object]:
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
    if login and login.gateway:
        specs["allow-session-login"] = _login_proxies(login, login.gateway)
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


def _login_proxies(login: LoginConfig, gateway: GatewayConfig) -> Object:
    """For pods of sessions: browsers reach their login proxies through the gateway, and those reach the issuer."""
    return {
        "podSelector": {"matchLabels": {names.LABEL_SESSION: "true"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [_pods(*_gateway_pods(gateway))], "ports": [{"protocol": "TCP", "port": PROXY_PORT}]}],
        # A tenant's pods never reach any address: where the issuer goes by a name, the site says where that leads.
        "egress": to_login(login, names.SYSTEM_NAMESPACE, login.networks),
    }


def _gateway_pods(gateway: GatewayConfig) -> tuple[dict[str, str], str]:
    """The labels of the pods that browsers' connections come from, and their namespace."""
    if gateway.controller.kind == "existing":
        return dict(gateway.controller.labels), gateway.controller.namespace
    return {names.LABEL_APP: GATEWAY}, names.SYSTEM_NAMESPACE


class Opened(Protocol):
    """What settings say the URL of."""

    @property
    def host(self) -> str:
        """Its host, without the port."""

    @property
    def port(self) -> int:
        """Its port."""


def to_hosts(opened: Sequence[Opened], by_name: Sequence[str] = ANYWHERE) -> list[Object]:
    """To where these are; where one goes by a name, to these networks at its port, and to the cluster's DNS."""
    found: list[Object] = []
    for one in opened:
        own = own_network(one.host)
        blocks = [{"ipBlock": {"cidr": cidr}} for cidr in ([own] if own else by_name)]
        found.append({"to": blocks, "ports": [{"protocol": "TCP", "port": one.port}]})
    if any(own_network(one.host) is None for one in opened):
        found.append(TO_NAMES)
    return found


def to_login(login: LoginConfig, namespace: str = "", by_name: Sequence[str] = ANYWHERE) -> list[Object]:
    """To the identity provider, where its issuer says it is, and to the pods of the site's own, which that may lead to.

    A node sees its own port as what is behind it, and another node's as that node's.

    Args:
        namespace: where those pods are; empty for the policy's own.
        by_name: networks that an issuer with a name is looked for in.
    """
    egress = to_hosts([login], by_name)
    if login.keycloak:
        there = _pods({names.LABEL_APP: KEYCLOAK}, namespace)
        egress.append({"to": [there], "ports": [{"protocol": "TCP", "port": KEYCLOAK_PORT}]})
    return egress


def _pods(labels: dict[str, str], namespace: str) -> Object:
    elsewhere = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}} if namespace else {}
    return {**elsewhere, "podSelector": {"matchLabels": labels}}
