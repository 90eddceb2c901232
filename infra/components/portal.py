"""The site's web pages for members (services/portal): a pod that has no rights of its own.

Who logs in there does so with a token of their own, and Kubernetes decides what they may do.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any

import pulumi

from infra.components.https_server import certificates, no_pods, ways
from infra.components.system_object import single_pod, system_object
from primage.components.login_secrets import LoginSecrets
from primage.contract import names
from primage.contract.egress import pods_with, to_api_servers, to_login
from primage.contract.login import AUTHORITY_KEY, CLIENT_SECRET_KEY, KEYCLOAK, PORTAL_SECRET, LoginConfig, PortalConfig
from primage.contract.names import PORTAL, PORTAL_PORT
from primage.contract.networks import NetworkConfig
from primage.contract.pod_security import container_security, system_pod_security
from primage.contract.portal import DOCUMENT, FOLDER, REPOSITORY, SITE_FILE, PortalSettings
from primage.projects.connection import Connection

UID = 10004
ANNOTATION_TOLD = "primage.eu/told"
"""Of the pod: digest of what it was told."""
START_S = 60
READABLE = 0o440
"""By the pod's group, which is nobody else's."""


class Portal(pulumi.ComponentResource):
    """The pod, its way in, and its ways out: the API server and the identity provider, and nowhere else.

    Args:
        login: which has `portal`.
        settings: what it is told.
        files: what the programs that it runs read of the site.
        labels: of the Secrets that are generated.
    """

    def __init__(
        self,
        name: str,
        login: LoginConfig,
        settings: PortalSettings,
        files: dict[str, str],
        network: NetworkConfig,
        cluster: Connection,
        labels: dict[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:Portal", name, {}, opts)
        assert login.portal
        self._name, self._login, self._own, self._network = name, login, login.portal, network
        self._labels = {names.LABEL_APP: PORTAL}
        self._here = pulumi.ResourceOptions(parent=self)
        self._declare = partial(system_object, name, self._labels, self._here)
        given = {**cluster.as_inputs(), "namespace": names.SYSTEM_NAMESPACE, "labels": {**labels, **self._labels}}
        data = {DOCUMENT: settings.model_dump_json(indent=1), **files}
        needed: list[pulumi.Resource] = [
            *self._secrets(given),
            *self._ways(),
            self._declare("v1", "ConfigMap", PORTAL, data=data),
            # Bound to nothing, and its token is mounted nowhere.
            self._declare("v1", "ServiceAccount", PORTAL, automountServiceAccountToken=False),
        ]
        # Who is logged in is known to one process: two would each know half of the people.
        after = pulumi.ResourceOptions(parent=self, depends_on=needed)
        single_pod(name, self._labels, after, PORTAL, _metadata(self._labels, data), self._pod(settings.site))
        self.register_outputs({})

    def _secrets(self, given: dict[str, Any]) -> list[pulumi.Resource]:
        made: list[pulumi.Resource] = []
        if self._login.keycloak:
            inputs = {**given, "secret": PORTAL_SECRET, "keys": [CLIENT_SECRET_KEY]}
            made.append(LoginSecrets(f"{self._name}-client", inputs, self._here))
        return [*made, *certificates(self._name, self._own, [self._own.host], given, self._here)]

    def _ways(self) -> list[pulumi.Resource]:
        """In: everybody who is no pod, and of pods Keycloak, which tells of logins that have ended. Out: to the API servers and
        the identity provider.
        """
        port = {"port": PORTAL_PORT, "protocol": "TCP"}
        egress = [to_api_servers(self._network), *to_login(self._login)]
        keycloak = [pods_with({names.LABEL_APP: KEYCLOAK})] if self._login.keycloak else []
        whom = [*no_pods(self._network.pods), *keycloak]
        return ways(self._declare, PORTAL, self._labels, port, self._own.node_port, whom=whom, egress=egress)

    def _pod(self, site: str) -> dict[str, Any]:
        volumes = _volumes(self._login, self._own)
        return {
            "serviceAccountName": PORTAL,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 15,
            "securityContext": system_pod_security(UID),
            "containers": [_container(self._own, site, [volume["name"] for volume in volumes])],
            "volumes": [*volumes, {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}],
        }


def _metadata(labels: dict[str, str], data: dict[str, str]) -> dict[str, Any]:
    """Of the pod: it reads what it is told when it starts, and another one has to start when that has changed."""
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
    return {"labels": {**labels, names.LABEL_API_ACCESS: "true"}, "annotations": {ANNOTATION_TOLD: digest}}


def _volumes(login: LoginConfig, own: PortalConfig) -> list[dict[str, Any]]:
    """The folder that it reads (portal/settings.py), part by part."""
    client = {"key": CLIENT_SECRET_KEY, "path": CLIENT_SECRET_KEY}
    authority = {"key": AUTHORITY_KEY, "path": AUTHORITY_KEY}
    issuer = login.keycloak.certificate_secret if login.keycloak else PORTAL_SECRET
    return [
        {"name": "site", "configMap": {"name": PORTAL}},
        {"name": "client", "secret": {"secretName": PORTAL_SECRET, "items": [client], "defaultMode": READABLE}},
        {"name": "issuer", "secret": {"secretName": issuer, "items": [authority], "optional": True, "defaultMode": READABLE}},
        {"name": "tls", "secret": {"secretName": own.certificate_secret, "defaultMode": READABLE}},
        {"name": "api", "configMap": {"name": "kube-root-ca.crt"}},
    ]


def _container(own: PortalConfig, site: str, parts: list[str]) -> dict[str, Any]:
    asked: dict[str, Any] = {"httpGet": {"path": "/health", "port": PORTAL_PORT, "scheme": "HTTPS"}, "timeoutSeconds": 5}
    return {
        "name": PORTAL,
        "image": own.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PRIMAGE_PORTAL", "value": FOLDER}],
        "startupProbe": {**asked, "periodSeconds": 1, "failureThreshold": START_S},
        "readinessProbe": {**asked, "periodSeconds": 15},
        # Strangers who take all its connections for a while must not have it started again: that ends everybody's session.
        "livenessProbe": {**asked, "periodSeconds": 30, "failureThreshold": 10},
        "resources": {"requests": {"cpu": "10m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": own.memory}},
        "securityContext": container_security(),
        "volumeMounts": [
            *({"name": part, "mountPath": f"{FOLDER}/{part}", "readOnly": True} for part in parts),
            {"name": "site", "mountPath": f"{REPOSITORY}/Pulumi.{site}.yaml", "subPath": SITE_FILE, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
