"""Where people log in: Keycloak on PostgreSQL, in one pod, with what it is run with.

https://www.keycloak.org/server/all-config
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pulumi

from infra.components.https_server import certificates, no_pods, ways
from infra.components.kept import claims, folders
from infra.components.postgresql import START_S, postgresql
from infra.components.system_object import system_object
from primage.components.login_secrets import ADMIN_PASSWORD, DATABASE_PASSWORD, LoginSecrets
from primage.contract import names, realm
from primage.contract.egress import to_hosts, to_pods, to_portal
from primage.contract.login import (
    AUTHORIZER_CLIENT,
    CLIENT_SECRET,
    CLIENT_SECRET_KEY,
    KEYCLOAK,
    KEYCLOAK_PORT,
    KeycloakConfig,
    LoginConfig,
)
from primage.contract.networks import NetworkConfig
from primage.contract.pod_security import container_security, system_pod_security
from primage.projects.connection import Connection

UID = 10003
ADMIN = "admin"
TLS, VAULT, REALM = "/tls", "/vault", "/opt/keycloak/data/import"
MANAGEMENT_PORT = 9000
CONNECTIONS = 40


class FederatedLogin(pulumi.ComponentResource):
    """A site's own Keycloak.

    What it is for, the realm, is brought in line by the authorizer (services/authorizer); here it is told only as much as lets the
    authorizer in.

    Args:
        login: whose issuer it is; it has `keycloak`.
        labels: of the Secrets that are generated.
    """

    def __init__(
        self,
        name: str,
        login: LoginConfig,
        network: NetworkConfig,
        cluster: Connection,
        labels: dict[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:FederatedLogin", name, {}, opts)
        assert login.keycloak
        self._name, self._login, self._own = name, login, login.keycloak
        self._pods = network.pods
        self._labels = {names.LABEL_APP: KEYCLOAK}
        self._here = pulumi.ResourceOptions(parent=self)
        self._declare = partial(system_object, name, self._labels, self._here)
        given = {**cluster.as_inputs(), "namespace": names.SYSTEM_NAMESPACE, "labels": {**labels, **self._labels}}
        needed: list[pulumi.Resource] = [*self._secrets(given), *self._network()]
        needed.append(self._declare("v1", "ConfigMap", KEYCLOAK, data=_imports(login)))
        system_object(
            self._name,
            self._labels,
            pulumi.ResourceOptions(parent=self, depends_on=needed),
            "apps/v1",
            "StatefulSet",
            KEYCLOAK,
            spec={
                "replicas": 1,
                "serviceName": KEYCLOAK,
                "selector": {"matchLabels": self._labels},
                "template": {"metadata": {"labels": self._labels}, "spec": _pod(login, self._own)},
                **claims(database=self._own.database),
            },
        )
        self.register_outputs({})

    def _secrets(self, given: dict[str, Any]) -> list[pulumi.Resource]:
        keys = [ADMIN_PASSWORD, DATABASE_PASSWORD]
        made: list[pulumi.Resource] = [
            LoginSecrets(f"{self._name}-passwords", {**given, "secret": KEYCLOAK, "keys": keys}, self._here),
            LoginSecrets(f"{self._name}-client", {**given, "secret": CLIENT_SECRET, "keys": [CLIENT_SECRET_KEY]}, self._here),
        ]
        for one in self._login.played:
            inputs = {**given, "secret": one.secret, "keys": [CLIENT_SECRET_KEY]}
            made.append(LoginSecrets(f"{self._name}-{one.name}", inputs, self._here))
        return [*made, *certificates(self._name, self._own, [self._login.host], given, self._here)]

    def _network(self) -> list[pulumi.Resource]:
        """Browsers reach it, and of pods the authorizer, the portal, and this one itself, should it play an institution.

        It reaches the institutions, the portal, and nobody else.
        """
        port = {"port": KEYCLOAK_PORT, "protocol": "TCP"}
        apps = {"key": names.LABEL_APP, "operator": "In", "values": [names.AUTHORIZER, names.PORTAL, KEYCLOAK]}
        whom = [*no_pods(self._pods), {"podSelector": {"matchExpressions": [apps]}}]
        itself = to_pods(self._labels, KEYCLOAK_PORT)
        egress = [*to_hosts(self._own.institutions), *to_portal(self._login), itself]
        return ways(self._declare, KEYCLOAK, self._labels, port, self._own.node_port, whom=whom, egress=egress)


def _imports(login: LoginConfig) -> dict[str, str]:
    """Realms that are read when they are not there yet."""
    realms = [realm.first_import(login), *(realm.first_import_played(login, one) for one in login.played)]
    return {f"{one['realm']}.json": json.dumps(one, indent=1) for one in realms}


def _clients(login: LoginConfig) -> list[dict[str, Any]]:
    """Secrets of clients, each as a file that has the client's name."""
    secrets = {AUTHORIZER_CLIENT: CLIENT_SECRET, **{one.client: one.secret for one in login.played}}
    return [
        {"secret": {"name": secret, "items": [{"key": CLIENT_SECRET_KEY, "path": client}]}} for client, secret in secrets.items()
    ]


def _vault(login: LoginConfig, own: KeycloakConfig) -> list[dict[str, Any]]:
    """Institutions' secrets, as files by the names that Keycloak's vault looks for."""
    return [
        {"secret": {"name": one.secret, "items": [{"key": CLIENT_SECRET_KEY, "path": f"{login.realm}_{realm.vault_key(one)}"}]}}
        for one in own.institutions
    ]


def _pod(login: LoginConfig, own: KeycloakConfig) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": system_pod_security(UID),
        "initContainers": [_database(own)],
        "containers": [_keycloak(login, own)],
        "volumes": [
            {"name": "tls", "secret": {"secretName": own.certificate_secret, "defaultMode": 0o440}},
            {"name": "passwords", "secret": {"secretName": KEYCLOAK, "defaultMode": 0o440}},
            {"name": "clients", "projected": {"defaultMode": 0o440, "sources": _clients(login)}},
            {"name": "realm", "configMap": {"name": KEYCLOAK}},
            {"name": "vault", "projected": {"defaultMode": 0o440, "sources": _vault(login, own)}},
            {"name": "data", "emptyDir": {"sizeLimit": "256Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            {"name": "database-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            *folders(database=own.database),
        ],
    }


def _database(own: KeycloakConfig) -> dict[str, Any]:
    return postgresql(own.database_image, KEYCLOAK, DATABASE_PASSWORD, CONNECTIONS, {"CLIENTS": "clients"})


def _keycloak(login: LoginConfig, own: KeycloakConfig) -> dict[str, Any]:
    environment = {
        "KC_DB_URL": f"jdbc:postgresql://127.0.0.1:5432/{KEYCLOAK}",
        "KC_DB_USERNAME": KEYCLOAK,
        # Who finds none free waits; the database has a few more.
        "KC_DB_POOL_MAX_SIZE": str(CONNECTIONS - 10),
        "KC_HOSTNAME": login.server,
        "KC_CACHE": "local",
        "KC_HTTP_ENABLED": "false",
        "KC_HTTPS_PORT": str(KEYCLOAK_PORT),
        "KC_HTTPS_CERTIFICATE_FILE": f"{TLS}/tls.crt",
        "KC_HTTPS_CERTIFICATE_KEY_FILE": f"{TLS}/tls.key",
        # The site's own authority beside the usual ones.
        "KC_TRUSTSTORE_PATHS": f"{TLS}/ca.crt",
        "KC_VAULT_DIR": VAULT,
        "KC_HTTP_MANAGEMENT_PORT": str(MANAGEMENT_PORT),
        "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
        "JAVA_OPTS_KC_HEAP": "-XX:InitialRAMPercentage=20 -XX:MaxRAMPercentage=55",
        # It starts more often than it computes for long: the quick compiler alone has it up sooner, and takes less memory.
        "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
    }
    secret = [
        _from("KC_DB_PASSWORD", KEYCLOAK, DATABASE_PASSWORD),
        _from("KC_BOOTSTRAP_ADMIN_PASSWORD", KEYCLOAK, ADMIN_PASSWORD),
        _from(realm.SECRET_VARIABLE, CLIENT_SECRET, CLIENT_SECRET_KEY),
        *(_from(realm.played_variable(one), one.secret, CLIENT_SECRET_KEY) for one in login.played),
    ]
    asked: dict[str, Any] = {"httpGet": {"path": "/health/ready", "port": MANAGEMENT_PORT, "scheme": "HTTPS"}, "timeoutSeconds": 5}
    return {
        "name": KEYCLOAK,
        "image": own.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["start", "--optimized", "--import-realm"],
        "env": [*({"name": key, "value": value} for key, value in environment.items()), *secret],
        "startupProbe": {**asked, "periodSeconds": 2, "failureThreshold": START_S // 2},
        "readinessProbe": {**asked, "periodSeconds": 10},
        "livenessProbe": {**asked, "httpGet": {**asked["httpGet"], "path": "/health/live"}, "periodSeconds": 30},
        "resources": {"requests": {"cpu": own.cpu, "memory": "512Mi"}, "limits": {"cpu": "2", "memory": own.memory}},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "tls", "mountPath": TLS, "readOnly": True},
            {"name": "vault", "mountPath": VAULT, "readOnly": True},
            {"name": "data", "mountPath": "/opt/keycloak/data"},
            {"name": "realm", "mountPath": REALM, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def _from(variable: str, secret: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
