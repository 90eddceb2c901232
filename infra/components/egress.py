"""What pods of the system may reach outside the cluster."""

from __future__ import annotations

from typing import Any

from primage.contract.networks import ANYWHERE, NetworkConfig
from primage.contract.tenant_objects.network import to_api


def to_api_servers(network: NetworkConfig) -> dict[str, Any]:
    """To the API servers; where the site does not say where they are, to any address at their port."""
    return to_api(network if network.api_servers else network.model_copy(update={"api_servers": ANYWHERE}))
