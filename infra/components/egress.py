"""What pods of the system may reach outside the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from primage.contract import names
from primage.contract.login import KEYCLOAK, KEYCLOAK_PORT, Issued, LoginConfig
from primage.contract.networks import ANYWHERE, NetworkConfig, own_network
from primage.contract.tenant_objects.network import DNS, DNS_PORTS, to_api

TO_NAMES = {"to": [DNS], "ports": DNS_PORTS}
"""To the cluster's DNS, for what goes by a name."""


def to_issuers(issuers: Sequence[Issued]) -> list[dict[str, Any]]:
    """To where these issuers are; where one goes by a name, to any address at its port, and to the cluster's DNS."""
    found: list[dict[str, Any]] = []
    for issuer in issuers:
        own = own_network(issuer.host)
        blocks = [{"ipBlock": {"cidr": cidr}} for cidr in ([own] if own else ANYWHERE)]
        found.append({"to": blocks, "ports": [{"protocol": "TCP", "port": issuer.port}]})
    if any(own_network(issuer.host) is None for issuer in issuers):
        found.append(TO_NAMES)
    return found


def to_login(login: LoginConfig) -> list[dict[str, Any]]:
    """To the identity provider, where its issuer says it is, and to the pods of the site's own, which that may lead to.

    A node sees its own port as what is behind it, and another node's as that node's.
    """
    egress = to_issuers([login])
    if login.keycloak:
        pods = {"podSelector": {"matchLabels": {names.LABEL_APP: KEYCLOAK}}}
        egress.append({"to": [pods], "ports": [{"protocol": "TCP", "port": KEYCLOAK_PORT}]})
    return egress


def to_api_servers(network: NetworkConfig) -> dict[str, Any]:
    """To the API servers; where the site does not say where they are, to any address at their port."""
    return to_api(network if network.api_servers else network.model_copy(update={"api_servers": ANYWHERE}))
