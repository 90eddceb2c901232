"""What pods of the system may reach outside the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from primage.contract.login import Issued
from primage.contract.networks import ANYWHERE, own_network
from primage.contract.tenant_objects.network import DNS, DNS_PORTS


def to_issuers(issuers: Sequence[Issued]) -> list[dict[str, Any]]:
    """To where these issuers are; where one goes by a name, to any address at its port, and to the cluster's DNS."""
    found: list[dict[str, Any]] = []
    for issuer in issuers:
        own = own_network(issuer.host)
        blocks = [{"ipBlock": {"cidr": cidr}} for cidr in ([own] if own else ANYWHERE)]
        found.append({"to": blocks, "ports": [{"protocol": "TCP", "port": issuer.port}]})
    if any(own_network(issuer.host) is None for issuer in issuers):
        found.append({"to": [DNS], "ports": DNS_PORTS})
    return found
