"""Networks that settings name, and what of them pods may reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from primage.contract.outputs import Settings


def _network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


ANYWHERE = ("0.0.0.0/0", "::/0")
Cidr = Annotated[str, AfterValidator(_network)]


def own_network(host: str) -> str | None:
    """The network of one address; None for a name."""
    try:
        return str(ipaddress.ip_network(host))
    except ValueError:
        return None


def inside(inner: str, outer: str) -> bool:
    """Whether one network lies in another."""
    one, other = ipaddress.ip_network(inner), ipaddress.ip_network(outer)
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]  # both are of one version


def outside(cidr: str, others: Sequence[str]) -> dict[str, Any]:
    """A network, as policies name it, without those of others that lie in it, such as the site's own machines."""
    among = [own for own in others if inside(own, cidr)]
    return {"ipBlock": {"cidr": cidr, **({"except": among} if among else {})}}


class NetworkConfig(Settings):
    """What pods of a site may reach."""

    api_servers: tuple[Cidr, ...] = Field(
        default=(),
        description="Networks of the API servers. Pods that hold a token for them (the HPC connector, a queue's scaler, the "
        "authorizer) can reach them, and no other pod can. Empty: no pod can but the authorizer.",
    )
    api_port: int = Field(default=6443, ge=1, le=65535, description="Port the API servers listen on there.")
    pods: tuple[Cidr, ...] = Field(
        default=(), description="Networks of the cluster's pods (`pod_subnet` of its inventory), which do not log in anywhere."
    )
    machines: tuple[Cidr, ...] = Field(
        default=(), description="Networks of the site's own machines; a VO's `egress` never opens them, however wide it is."
    )
