"""Apache Guacamole for a site that can pull its images: machines outside the cluster, in a browser, after a login.

This project has no image of it and has never run it: what is declared here follows its manual,
https://guacamole.apache.org/doc/gug/guacamole-docker.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pulumi

from infra.components.system_object import single_pod, system_object
from primage.contract import names
from primage.contract.egress import TO_NAMES, pods_with, to_login, to_networks, to_pods
from primage.contract.guacamole import (
    AUTHORITY_KEY,
    DATABASE_FOLDER,
    GUACAMOLE,
    GUACD,
    GUACD_PORT,
    PASSWORD_KEY,
    PORT,
    GuacamoleConfig,
)
from primage.contract.login import LoginConfig
from primage.contract.pod_security import container_security, system_pod_security

UID = 10007
START_S = 180


class Guacamole(pulumi.ComponentResource):
    """Two pods without rights: the web application, which only the way in reaches, and guacd, which only that one reaches.

    guacd asks nobody who they are; so does no machine, where Guacamole has been given its password.

    Args:
        login: which has `guacamole`.
    """

    def __init__(self, name: str, login: LoginConfig, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:site:Guacamole", name, {}, opts)
        assert login.guacamole
        self._name, self._login, self._own = name, login, login.guacamole
        proxy = self._ways(GUACD, GUACD_PORT, [pods_with(_labels(GUACAMOLE))], self._machines())
        self._pod(GUACD, _guacd(self._own), [], proxy)
        whom = [pods_with(self._own.way_in.labels, self._own.way_in.namespace)]
        web = self._ways(GUACAMOLE, PORT, whom, self._servers())
        authority = {"secretName": self._own.database.secret, "items": [{"key": AUTHORITY_KEY, "path": AUTHORITY_KEY}]}
        self._pod(GUACAMOLE, _web(login, self._own), [{"name": "database", "secret": {**authority, "defaultMode": 0o440}}], web)
        self.register_outputs({})

    def _ways(self, app: str, port: int, whom: list[dict[str, Any]], egress: list[dict[str, Any]]) -> list[pulumi.Resource]:
        """A Service, and who comes in and where it goes: nowhere else."""
        declared = partial(system_object, self._name, _labels(app), pulumi.ResourceOptions(parent=self))
        listens = {"port": port, "protocol": "TCP"}
        policy = {
            "podSelector": {"matchLabels": _labels(app)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": whom, "ports": [listens]}],
            "egress": egress,
        }
        return [
            declared("networking.k8s.io/v1", "NetworkPolicy", app, spec=policy),
            declared("v1", "Service", app, spec={"selector": _labels(app), "ports": [{"name": app, **listens}]}),
        ]

    def _machines(self) -> list[dict[str, Any]]:
        """To the machines that people see; they may go by a name."""
        return [to_networks(self._own.machines, self._own.ports), TO_NAMES]

    def _servers(self) -> list[dict[str, Any]]:
        """To guacd, to the database, and to the identity provider for its keys."""
        own = self._own.database
        return [
            to_pods(_labels(GUACD), GUACD_PORT),
            to_networks([own.network], [own.port]),
            *to_login(self._login),
            TO_NAMES,
        ]

    def _pod(self, app: str, container: dict[str, Any], volumes: list[dict[str, Any]], after: list[pulumi.Resource]) -> None:
        pod = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": system_pod_security(UID),
            "containers": [container],
            "volumes": [*volumes, {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
        }
        opts = pulumi.ResourceOptions(parent=self, depends_on=after)
        single_pod(self._name, _labels(app), opts, app, {"labels": _labels(app)}, pod)


def _labels(app: str) -> dict[str, str]:
    return {names.LABEL_APP: app}


def _container(app: str, image: str, port: int, **more: Any) -> dict[str, Any]:
    asked = {"tcpSocket": {"port": port}}
    return {
        "name": app,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "startupProbe": {**asked, "periodSeconds": 2, "failureThreshold": START_S // 2},
        "readinessProbe": {**asked, "periodSeconds": 10},
        "securityContext": container_security(),
        **more,
    }


def _guacd(own: GuacamoleConfig) -> dict[str, Any]:
    return _container(
        GUACD,
        own.guacd_image,
        GUACD_PORT,
        # It keeps what it is told of machines in the home of who it is, which a number without a name does not have.
        env=[{"name": "HOME", "value": "/tmp"}],  # noqa: S108  # inside the container
        resources={"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}},
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    )


def _web(login: LoginConfig, own: GuacamoleConfig) -> dict[str, Any]:
    password = {"secretKeyRef": {"name": own.database.secret, "key": PASSWORD_KEY}}
    return _container(
        GUACAMOLE,
        own.image,
        PORT,
        env=[
            *({"name": key, "value": value} for key, value in own.environment(login).items()),
            {"name": "POSTGRESQL_PASSWORD", "valueFrom": password},
        ],
        resources={"requests": {"cpu": "10m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": own.memory}},
        volumeMounts=[
            {"name": "database", "mountPath": DATABASE_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    )
