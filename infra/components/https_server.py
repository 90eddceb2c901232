"""What every server of the site's own has that is reached by TLS: a certificate, a way in, and its ways out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi

from primage.components.kubernetes_object import KubernetesObject
from primage.components.login_secrets import ServerCertificate
from primage.contract.gateway import GatewayConfig
from primage.contract.image_archive import ImageArchiveConfig
from primage.contract.login import KeycloakConfig, PortalConfig
from primage.contract.networks import ANYWHERE, outside
from primage.contract.records import RecordsConfig

Settings = KeycloakConfig | PortalConfig | GatewayConfig | ImageArchiveConfig | RecordsConfig

ANNOTATION_CERTIFICATE = "primage.eu/certificate"
"""Of a pod: which certificate it has read."""


def no_pods(pods: tuple[str, ...]) -> list[dict[str, Any]]:
    """Everybody but pods: one that has just come has no policy of its own yet, and what lets everybody in would let it in too."""
    return [outside(cidr, pods) for cidr in ANYWHERE]


def certificates(
    name: str, own: Settings, hosts: list[str], given: dict[str, Any], opts: pulumi.ResourceOptions
) -> list[ServerCertificate]:
    """The server's certificate, where the site has an authority that makes it.

    Args:
        name: the component's.
        hosts: names and addresses that it is reached by.
        given: what all generated Secrets are told: where the cluster is, a namespace and labels.
    """
    if not own.authority_folder:
        return []
    inputs = {**given, "secret": own.certificate_secret, "hosts": hosts, "authority": own.authority_folder}
    return [ServerCertificate(f"{name}-certificate", inputs, opts)]


def ways(
    declared: Callable[..., KubernetesObject],
    name: str,
    labels: dict[str, str],
    port: dict[str, Any],
    node_port: int | None,
    *,
    whom: list[dict[str, Any]],
    egress: list[dict[str, Any]],
) -> list[pulumi.Resource]:
    """Its Service, on a port of the nodes where there is to be one, and who comes in and where it goes.

    Args:
        declared: `system_object` for this component.
        port: `port` and `protocol` that it listens on.
        node_port: of every node that leads to it.
        whom, egress: as a NetworkPolicy has them.
    """
    policy = {
        "podSelector": {"matchLabels": labels},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": whom, "ports": [port]}],
        "egress": egress,
    }
    exposed = {"nodePort": node_port} if node_port else {}
    service = {
        "type": "NodePort" if node_port else "ClusterIP",
        "selector": labels,
        "ports": [{"name": "https", **port, **exposed}],
    }
    return [
        declared("networking.k8s.io/v1", "NetworkPolicy", name, spec=policy),
        declared("v1", "Service", name, spec=service),
    ]


def read_when_started(made: list[ServerCertificate]) -> dict[str, Any]:
    """Annotation of a pod that reads its certificate when it starts: another has to start when that is another.

    Of one that the site's operators bring nothing is known.
    """
    return {ANNOTATION_CERTIFICATE: made[0].generation} if made else {}
