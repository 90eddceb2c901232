"""What does a gateway's work: Envoy, which takes browsers' connections, and Contour, which tells it where they go.

https://projectcontour.io/docs/1.33/configuration
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import pulumi

from infra.components.cluster_role import cluster_role, cluster_role_binding
from infra.components.egress import to_api_servers
from infra.components.https_server import no_pods, ways
from infra.components.system_object import single_pod, system_object
from infra.components.token_pod import TOKEN_FOLDER, token_volume
from primage.components.xds_certificates import CONTOUR, ENVOY, XdsCertificates
from primage.contract import gateway_api, names
from primage.contract.gateway import GATEWAY, PROXY_PORT, ContourConfig
from primage.contract.networks import NetworkConfig
from primage.contract.pod_security import container_security, system_pod_security
from primage.contract.quantities import parse_quantity
from primage.contract.tenant_objects.network import TO_NAMES

ROLE = f"primage-{CONTOUR}"
CONTROLLER = "projectcontour.io/gateway-controller"
ENVOY_UID, CONTOUR_UID = 10005, 10006
HTTPS, XDS_PORT, METRICS_PORT, STATS_PORT = 8443, 8001, 8000, 8002
"""Where Envoy listens for the Gateway's port 443; where Contour tells it, and where each says whether it is ready."""
CERTIFICATES, BOOTSTRAP, SETTINGS = "/certificates", "/bootstrap", "/settings"
NO_CLASS = "primage-nobody"
"""The class whose Ingresses and HTTPProxies Contour serves. Admission lets no tenant have either (infra/admission_of_routes.py)."""
MOST_CONNECTIONS, HEAP_PERCENT, THREADS = 2000, 80, 2
"""Of Envoy: browsers' connections, and of its memory the share from which it takes no more of them."""
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
        self._envoy(contour)
        self.register_outputs({})

    def _contour(self, secret: pulumi.Resource) -> pulumi.Resource:
        labels = {names.LABEL_APP: CONTOUR}
        declared = partial(system_object, self._name, labels, self._here)
        egress = to_api_servers(self._network)["egress"]
        whom = [{"podSelector": {"matchLabels": {names.LABEL_APP: GATEWAY}}}]
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
        return single_pod(self._name, labels, after, CONTOUR, metadata, _contour_pod(self._config))

    def _envoy(self, contour: pulumi.Resource) -> None:
        labels = {names.LABEL_APP: GATEWAY}
        declared = partial(system_object, self._name, labels, self._here)
        tenants = {"namespaceSelector": {"matchExpressions": [{"key": names.LABEL_VO, "operator": "Exists"}]}}
        egress = [
            {"to": [tenants], "ports": [{"port": PROXY_PORT, "protocol": "TCP"}]},
            {
                "to": [{"podSelector": {"matchLabels": {names.LABEL_APP: CONTOUR}}}],
                "ports": [{"port": XDS_PORT, "protocol": "TCP"}],
            },
            TO_NAMES,
        ]
        port = {"port": HTTPS, "protocol": "TCP"}
        opened = ways(declared, GATEWAY, labels, port, self._config.node_port, whom=no_pods(self._network.pods), egress=egress)
        after = pulumi.ResourceOptions(parent=self, depends_on=[contour, *opened])
        spec = {
            "replicas": 1,
            # Another one is there before this one goes.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": self._read}, "spec": _envoy_pod(self._config)},
        }
        system_object(self._name, labels, after, "apps/v1", "Deployment", GATEWAY, spec=spec)


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


def _pod(uid: int, whose: str, fields: dict[str, Any], volumes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the two halves have alike: nobody's rights, and a certificate each."""
    items = [{"key": "ca.crt", "path": "ca.crt"}, *({"key": f"{whose}.{end}", "path": f"tls.{end}"} for end in ("crt", "key"))]
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": system_pod_security(uid),
        **fields,
        "volumes": [{"name": "certificates", "secret": {"secretName": CONTOUR, "items": items, "defaultMode": 0o440}}, *volumes],
    }


def _container(name: str, image: str, args: list[str], mounts: dict[str, str], **fields: Any) -> dict[str, Any]:
    """One container, with its certificate and these volumes, each where it is mounted."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "certificates", "mountPath": CERTIFICATES, "readOnly": True},
            *({"name": volume, "mountPath": path} for volume, path in mounts.items()),
        ],
        **fields,
    }


def _contour_pod(config: ContourConfig) -> dict[str, Any]:
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
    container = _container(
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
    return _pod(CONTOUR_UID, CONTOUR, {"serviceAccountName": CONTOUR, "containers": [container]}, volumes)


def _envoy_pod(config: ContourConfig) -> dict[str, Any]:
    most = int(parse_quantity(config.memory) * HEAP_PERCENT / 100)
    bootstrap = [
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
    serve = ["--config-path", f"{BOOTSTRAP}/envoy.json", "--service-cluster", names.SYSTEM_NAMESPACE, "--service-node", GATEWAY]
    small = {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    envoy = _container(
        ENVOY,
        config.envoy_image,
        [*serve, "--log-level", "warn", "--disable-hot-restart", "--concurrency", str(THREADS)],
        {"bootstrap": BOOTSTRAP, "admin": "/admin"},
        readinessProbe={"httpGet": {"path": "/ready", "port": STATS_PORT}, "periodSeconds": 2, "timeoutSeconds": 5},
        resources={"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": config.memory}},
    )
    fields = {
        "initContainers": [_container("bootstrap", config.image, bootstrap, {"bootstrap": BOOTSTRAP}, resources=small)],
        "containers": [envoy],
    }
    shared = [{"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}} for name in ("bootstrap", "admin")]
    return _pod(ENVOY_UID, ENVOY, fields, shared)
