"""Envoy, which takes browsers' connections and takes them where Contour says.

https://www.envoyproxy.io/docs/envoy/latest/operations/cli
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pulumi

from infra.components.https_server import no_pods, ways
from infra.components.system_object import system_object
from infra.components.xds_pod import CERTIFICATES, XDS_PORT, xds_container, xds_pod
from primage.components.xds_certificates import CONTOUR, ENVOY
from primage.contract import names
from primage.contract.egress import TO_NAMES, to_pods
from primage.contract.gateway import GATEWAY, PROXY_PORT, ContourConfig
from primage.contract.networks import NetworkConfig
from primage.contract.quantities import parse_quantity

UID = 10005
LABELS = {names.LABEL_APP: GATEWAY}
HTTPS, STATS_PORT = 8443, 8002
"""Where it listens for the Gateway's port 443, and where it says whether it is ready."""
BOOTSTRAP = "/bootstrap"
MOST_CONNECTIONS, HEAP_PERCENT, THREADS = 2000, 80, 2
"""Browsers' connections, and of its memory the share from which it takes no more of them."""


def envoy(
    prefix: str,
    config: ContourConfig,
    network: NetworkConfig,
    read: dict[str, pulumi.Output[str]],
    parent: pulumi.Resource,
    contour: pulumi.Resource,
) -> None:
    """Declare it, which is reached, and has no token.

    Args:
        prefix: the component's name, with which Pulumi's names begin.
        read: annotations of the pod, which say what it has read when it started.
        parent: the component.
        contour: which is to be there before it.
    """
    declared = partial(system_object, prefix, LABELS, pulumi.ResourceOptions(parent=parent))
    tenants = {"namespaceSelector": {"matchExpressions": [{"key": names.LABEL_VO, "operator": "Exists"}]}}
    egress = [
        {"to": [tenants], "ports": [{"port": PROXY_PORT, "protocol": "TCP"}]},
        to_pods({names.LABEL_APP: CONTOUR}, XDS_PORT),
        TO_NAMES,
    ]
    port = {"port": HTTPS, "protocol": "TCP"}
    opened = ways(declared, GATEWAY, LABELS, port, config.node_port, whom=no_pods(network.pods), egress=egress)
    after = pulumi.ResourceOptions(parent=parent, depends_on=[contour, *opened])
    spec = {
        "replicas": 1,
        # Another one is there before this one goes.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS, "annotations": read}, "spec": _pod(config)},
    }
    system_object(prefix, LABELS, after, "apps/v1", "Deployment", GATEWAY, spec=spec)


def _pod(config: ContourConfig) -> dict[str, Any]:
    fields = {"initContainers": [_bootstrap(config)], "containers": [_envoy(config)]}
    shared = [{"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}} for name in ("bootstrap", "admin")]
    return xds_pod(UID, ENVOY, fields, shared)


def _bootstrap(config: ContourConfig) -> dict[str, Any]:
    """Contour's program writes what Envoy begins with."""
    most = int(parse_quantity(config.memory) * HEAP_PERCENT / 100)
    args = [
        "bootstrap",
        f"{BOOTSTRAP}/envoy.json",
        f"--xds-address={CONTOUR}",
        f"--xds-port={XDS_PORT}",
        f"--resources-dir={BOOTSTRAP}/resources",
        f"--envoy-cafile={CERTIFICATES}/ca.crt",
        f"--envoy-cert-file={CERTIFICATES}/tls.crt",
        f"--envoy-key-file={CERTIFICATES}/tls.key",
        f"--namespace={names.SYSTEM_NAMESPACE}",
        # Strangers who hold many connections must not have it killed, and everybody's with it.
        f"--overload-downstream-max-conn={MOST_CONNECTIONS}",
        f"--overload-max-heap={most}",
    ]
    small = {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    return xds_container("bootstrap", config.image, args, {"bootstrap": BOOTSTRAP}, resources=small)


def _envoy(config: ContourConfig) -> dict[str, Any]:
    serve = ["--config-path", f"{BOOTSTRAP}/envoy.json", "--service-cluster", names.SYSTEM_NAMESPACE, "--service-node", GATEWAY]
    return xds_container(
        ENVOY,
        config.envoy_image,
        [*serve, "--log-level", "warn", "--disable-hot-restart", "--concurrency", str(THREADS)],
        {"bootstrap": BOOTSTRAP, "admin": "/admin"},
        readinessProbe={"httpGet": {"path": "/ready", "port": STATS_PORT}, "periodSeconds": 2, "timeoutSeconds": 5},
        resources={"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": config.memory}},
    )
