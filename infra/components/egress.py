"""What pods of the system may reach outside the cluster."""

from __future__ import annotations

from typing import Any

from primage.contract import names
from primage.contract.login import LoginConfig
from primage.contract.networks import ANYWHERE, NetworkConfig
from primage.contract.tenant_objects.network import to_api, to_hosts


def to_portal(login: LoginConfig) -> list[dict[str, Any]]:
    """To the site's portal, where it is opened, and to its pod, which that leads to; nowhere where there is none."""
    if login.portal is None:
        return []
    pods = {"podSelector": {"matchLabels": {names.LABEL_APP: names.PORTAL}}}
    return [*to_hosts([login.portal]), {"to": [pods], "ports": [{"protocol": "TCP", "port": names.PORTAL_PORT}]}]


def to_api_servers(network: NetworkConfig) -> dict[str, Any]:
    """To the API servers; where the site does not say where they are, to any address at their port."""
    return to_api(network if network.api_servers else network.model_copy(update={"api_servers": ANYWHERE}))
