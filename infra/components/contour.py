"""Contour, which does a gateway's work: it tells Envoy (envoy.py) where browsers' connections go.

https://projectcontour.io/docs/1.33/configuration
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any

import pulumi

from infra.components.cluster_role import cluster_role, cluster_role_binding
from infra.components.envoy import envoy
from infra.components.https_server import ways
from infra.components.system_object import single_pod, system_object
from infra.components.token_pod import TOKEN_FOLDER, token_volume
from infra.components.xds_pod import CERTIFICATES, XDS_PORT, xds_container, xds_pod
from primage.components.xds_certificates import CONTOUR, XdsCertificates
from primage.contract import gateway_api, names
from primage.contract.egress import pods_with, to_api_servers
from primage.contract.gateway import GATEWAY, ContourConfig
from primage.contract.networks import NetworkConfig

ROLE = f"primage-{CONTOUR}"
CONTROLLER = "projectcontour.io/gateway-controller"
UID = 10006
METRICS_PORT = 8000
"""Where it says whether it is alive."""
SETTINGS = "/settings"
NO_CLASS = "primage-nobody"
"""The class whose Ingresses and HTTPProxies Contour serves. Admission lets no tenant have either (infra/admission/routes.py)."""
UNUSED = ("extensionservices", "grpcroutes", "tcproutes", "tlsroutes")
LOGGED = (
    *("@timestamp", "authority", "method", "response_code", "response_flags"),
    *("bytes_received", "bytes_sent", "duration", "upstream_host"),
)
"""Of a request: no path, which has codes of people's logins in it, and no headers."""
READ = ["get", "list", "watch"]


class Contour(pulumi.ComponentResource):
    """One pod of Contour and one of Envoy. The one reads the cluster and nobody reaches it; the other is reached, and has no token.

    Args:
        given: what all generated Secrets are told: where the cluster is, a namespace and labels.
    """

    def __init__(
        self,
        name: str,
        config: ContourConfig,
        network: NetworkConfig,
        given: dict[str, Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:Contour", name, {}, opts)
        self._name, self._config, self._network = name, config, network
        self._here = pulumi.ResourceOptions(parent=self)
        secret = XdsCertificates(f"{name}-certificates", {**given, "secret": CONTOUR}, self._here)
        # Which certificates either has read when it started.
        self._read = {"primage.eu/certificates": secret.generation}
        contour = self._contour(secret)
        envoy(name, config, network, self._read, self, contour)
        self.register_outputs({})

    def _contour(self, secret: pulumi.Resource) -> pulumi.Resource:
        labels = {names.LABEL_APP: CONTOUR}
        declared = partial(system_object, self._name, labels, self._here)
        whom, egress = [pods_with({names.LABEL_APP: GATEWAY})], [to_api_servers(self._network)]
        port = {"port": XDS_PORT, "protocol": "TCP"}
        needed = [
            secret,
            declared("v1", "ServiceAccount", CONTOUR, automountServiceAccountToken=False),
            declared("v1", "ConfigMap", CONTOUR, data={"contour.json": _settings()}),
            cluster_role(f"{self._name}-clusterrole", ROLE, _rules(), self._here),
            cluster_role_binding(f"{self._name}-clusterrolebinding", ROLE, CONTOUR, self._here),
            *ways(declared, CONTOUR, labels, port, None, whom=whom, egress=egress),
        ]
        after = pulumi.ResourceOptions(parent=self, depends_on=needed)
        metadata = {"labels": labels, "annotations": {**self._read, "primage.eu/told": _digest(_settings())}}
        return single_pod(self._name, labels, after, CONTOUR, metadata, _pod(self._config))


def _settings() -> str:
    """Contour's file: YAML, which JSON is too. It looks after this one Gateway, and provisions nothing."""
    settings = {
        "gateway": {"gatewayRef": {"namespace": names.SYSTEM_NAMESPACE, "name": GATEWAY}},
        "disablePermitInsecure": True,
        "accesslog-format": "json",
        "json-fields": list(LOGGED),
    }
    return json.dumps(settings, indent=1)


def _rules() -> list[dict[str, Any]]:
    """What it reads whatever it is told, in all namespaces, Secrets too (docs/adr/0026); it writes what became of routes."""
    return [
        {"apiGroups": [""], "resources": ["configmaps", "namespaces", "secrets", "services"], "verbs": READ},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
        {"apiGroups": [gateway_api.GROUP], "resources": [kind.resources for kind in gateway_api.READ], "verbs": READ},
        {
            "apiGroups": [gateway_api.GROUP],
            "resources": [f"{kind.resources}/status" for kind in gateway_api.SERVED],
            "verbs": ["update"],
        },
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": READ},
        {"apiGroups": ["projectcontour.io"], "resources": ["httpproxies", "tlscertificatedelegations"], "verbs": READ},
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _pod(config: ContourConfig) -> dict[str, Any]:
    args = [
        "serve",
        "--incluster",
        f"--config-path={SETTINGS}/contour.json",
        "--xds-address=0.0.0.0",
        f"--xds-port={XDS_PORT}",
        f"--contour-cafile={CERTIFICATES}/ca.crt",
        f"--contour-cert-file={CERTIFICATES}/tls.crt",
        f"--contour-key-file={CERTIFICATES}/tls.key",
        # There is one of it.
        "--disable-leader-election",
        f"--ingress-class-name={NO_CLASS}",
        *(f"--disable-feature={kind}" for kind in UNUSED),
    ]
    alive = {"httpGet": {"path": "/healthz", "port": METRICS_PORT}, "timeoutSeconds": 5}
    container = xds_container(
        CONTOUR,
        config.image,
        args,
        {"settings": SETTINGS, "token": TOKEN_FOLDER},
        # It listens once it has read the cluster.
        readinessProbe={"tcpSocket": {"port": XDS_PORT}, "periodSeconds": 2},
        livenessProbe={**alive, "periodSeconds": 30, "failureThreshold": 10},
        resources={"requests": {"cpu": "5m", "memory": "48Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
    )
    volumes = [{"name": "settings", "configMap": {"name": CONTOUR}}, token_volume()]
    return xds_pod(UID, CONTOUR, {"serviceAccountName": CONTOUR, "containers": [container]}, volumes)
