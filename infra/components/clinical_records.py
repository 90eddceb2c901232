"""The site's clinical records: a database of MongoDB's protocol, reached by one service over TLS, with a password nobody chose."""

from __future__ import annotations

from functools import partial
from typing import Any

import pulumi

from infra.components import ferretdb, mongodb, nx_27017
from infra.components.https_server import certificates, read_when_started
from infra.components.system_object import system_object
from primage.components.client_certificate import ClientCertificate
from primage.components.login_secrets import LoginSecrets
from primage.contract import names
from primage.contract.egress import TO_NAMES
from primage.contract.names import CLINICAL_RECORDS
from primage.contract.records import CLIENT_SECRET, PASSWORD_KEY, PORT, USER, FerretDbConfig, MongoDbConfig, RecordsConfig
from primage.projects.connection import Connection


class ClinicalRecords(pulumi.ComponentResource):
    """A StatefulSet; service `datasets` reaches it, and it reaches nobody but its own members.

    Args:
        labels: of the Secrets that are generated.
    """

    def __init__(
        self,
        name: str,
        config: RecordsConfig,
        cluster: Connection,
        labels: dict[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:ClinicalRecords", name, {}, opts)
        self._labels = {names.LABEL_APP: CLINICAL_RECORDS}
        here = pulumi.ResourceOptions(parent=self)
        declare = partial(system_object, name, self._labels, here)
        given = {**cluster.as_inputs(), "namespace": names.SYSTEM_NAMESPACE, "labels": {**labels, **self._labels}}
        certificate = certificates(name, config, config.members, given, here)
        server = config.server
        alone = not isinstance(server, MongoDbConfig)
        client, read = self._let_in(name, given, config)
        needed = [
            client,
            *certificate,
            declare("networking.k8s.io/v1", "NetworkPolicy", CLINICAL_RECORDS, spec=self._policy(alone)),
            declare("v1", "Service", CLINICAL_RECORDS, spec=_service()),
        ]
        spec = _what_is_run(config)
        spec["template"]["metadata"] = {"labels": mongodb.MEMBER, "annotations": {**read_when_started(certificate), **read}}
        after = pulumi.ResourceOptions(parent=self, depends_on=needed)
        whole = {"serviceName": CLINICAL_RECORDS, "selector": {"matchLabels": mongodb.MEMBER}, **spec}
        kept = system_object(name, self._labels, after, "apps/v1", "StatefulSet", CLINICAL_RECORDS, spec=whole)
        if isinstance(server, MongoDbConfig):
            then = pulumi.ResourceOptions(parent=self, depends_on=[kept])
            for api_version, kind, called, fields in mongodb.beside(config, server):
                system_object(name, self._labels, then, api_version, kind, called, **fields)
        self.register_outputs({})

    def _let_in(self, name: str, given: dict[str, Any], config: RecordsConfig) -> tuple[pulumi.Resource, dict[str, Any]]:
        """What the service gets in with, and annotations of a pod that has read it."""
        here = pulumi.ResourceOptions(parent=self)
        if not config.logs_in:
            made = ClientCertificate(f"{name}-client", {**given, "secret": CLIENT_SECRET, "client": USER}, here)
            return made, {"primage.eu/client": made.generation}
        keys = [PASSWORD_KEY, *(mongodb.SECRET_KEYS if isinstance(config.server, MongoDbConfig) else ())]
        return LoginSecrets(f"{name}-passwords", {**given, "secret": CLINICAL_RECORDS, "keys": keys}, here), {}

    def _policy(self, alone: bool) -> dict[str, Any]:
        port = {"port": PORT, "protocol": "TCP"}
        itself = {"podSelector": {"matchLabels": self._labels}}
        service = {"podSelector": {"matchLabels": {names.LABEL_APP: names.DATASETS}}}
        return {
            "podSelector": {"matchLabels": self._labels},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [service] if alone else [service, itself], "ports": [port]}],
            "egress": [] if alone else [{"to": [itself], "ports": [port]}, TO_NAMES],
        }


def _what_is_run(config: RecordsConfig) -> dict[str, Any]:
    """Of the StatefulSet what differs from kind to kind."""
    if isinstance(config.server, MongoDbConfig):
        return mongodb.stateful_set(config, config.server)
    if isinstance(config.server, FerretDbConfig):
        return ferretdb.stateful_set(config, config.server)
    return nx_27017.stateful_set(config, config.server)


def _service() -> dict[str, Any]:
    """Each member goes by a name of its own, also before it is ready: that is how they find each other."""
    port = {"name": "mongodb", "port": PORT, "protocol": "TCP"}
    return {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": mongodb.MEMBER, "ports": [port]}
