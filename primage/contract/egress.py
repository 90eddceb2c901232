"""Where pods go, as network policies say it: entries of `egress`, for tenants' pods and for the site's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from primage.contract import names
from primage.contract.login import KEYCLOAK, KEYCLOAK_PORT, LoginConfig
from primage.contract.networks import ANYWHERE, NetworkConfig, own_network

Entry = dict[str, Any]
TO_NAMES: Entry = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
}
"""To the cluster's DNS servers, as kubeadm and most others label them, for what goes by a name."""


class Reached(Protocol):
    """What settings say the URL of."""

    @property
    def host(self) -> str:
        """Its host, without the port."""

    @property
    def port(self) -> int:
        """Its port."""


def pods_with(labels: Mapping[str, str], namespace: str = "") -> Entry:
    """Pods as a policy names them, in another namespace or, where that is empty, in the policy's own."""
    elsewhere = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}} if namespace else {}
    return {**elsewhere, "podSelector": {"matchLabels": dict(labels)}}


def to_pods(labels: Mapping[str, str], port: int, namespace: str = "") -> Entry:
    """To these pods; as for `pods_with`."""
    return {"to": [pods_with(labels, namespace)], "ports": _ports([port])}


def to_networks(networks: Iterable[str], ports: Iterable[int]) -> Entry:
    """To these networks at these ports."""
    return {"to": [{"ipBlock": {"cidr": cidr}} for cidr in networks], "ports": _ports(ports)}


def to_api_servers(network: NetworkConfig) -> Entry:
    """To the API servers; where the site does not say where they are, to any address at their port.

    A policy sees an API server's own address, not that of its Service.
    """
    return to_networks(network.api_servers or ANYWHERE, [network.api_port])


def for_tokens(network: NetworkConfig) -> Entry:
    """The `spec` of a policy that opens this way to the pods that hold a token."""
    whose = {"matchLabels": {names.LABEL_API_ACCESS: "true"}}
    return {"podSelector": whose, "policyTypes": ["Egress"], "egress": [to_api_servers(network)]}


def to_hosts(servers: Sequence[Reached], by_name: Sequence[str] = ANYWHERE) -> list[Entry]:
    """To where these are; where one goes by a name, to these networks at its port, and to the cluster's DNS."""
    found = []
    for one in servers:
        own = own_network(one.host)
        found.append(to_networks([own] if own else by_name, [one.port]))
    if any(own_network(one.host) is None for one in servers):
        found.append(TO_NAMES)
    return found


def to_login(login: LoginConfig, namespace: str = "", by_name: Sequence[str] = ANYWHERE) -> list[Entry]:
    """To the identity provider, where its issuer says it is, and to the pods of the site's own, which that may lead to.

    A node sees its own port as what is behind it, and another node's as that node's.

    Args:
        namespace: where those pods are; empty for the policy's own.
        by_name: networks that an issuer with a name is looked for in.
    """
    own = [to_pods({names.LABEL_APP: KEYCLOAK}, KEYCLOAK_PORT, namespace)] if login.keycloak else []
    return [*to_hosts([login], by_name), *own]


def to_portal(login: LoginConfig) -> list[Entry]:
    """To the site's portal, where it is opened, and to its pod, which that leads to; nowhere where there is none."""
    if login.portal is None:
        return []
    return [*to_hosts([login.portal]), to_pods({names.LABEL_APP: names.PORTAL}, names.PORTAL_PORT)]


def _ports(ports: Iterable[int]) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]
