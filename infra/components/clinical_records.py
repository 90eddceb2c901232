"""The site's clinical records: a database of MongoDB's protocol, reached by one service over TLS, with a password nobody chose."""

from __future__ import annotations

from functools import partial
from typing import Any

import pulumi

from infra.components import ferretdb, mongodb
from infra.components.https_server import certificates, read_when_started
from infra.components.system_object import system_object
from primage.components.login_secrets import LoginSecrets
from primage.contract import names
from primage.contract.names import CLINICAL_RECORDS
from primage.contract.records import PASSWORD_KEY, PORT, FerretDbConfig, RecordsConfig
from primage.contract.tenant_objects.network import TO_NAMES
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
        alone = isinstance(server, FerretDbConfig)
        keys = [PASSWORD_KEY] if alone else [PASSWORD_KEY, *mongodb.SECRET_KEYS]
        needed = [
            LoginSecrets(f"{name}-passwords", {**given, "secret": CLINICAL_RECORDS, "keys": keys}, here),
            *certificate,
            declare("networking.k8s.io/v1", "NetworkPolicy", CLINICAL_RECORDS, spec=self._policy(alone)),
            declare("v1", "Service", CLINICAL_RECORDS, spec=_service()),
        ]
        spec = ferretdb.stateful_set(config, server) if isinstance(server, FerretDbConfig) else mongodb.stateful_set(config, server)
        spec["template"]["metadata"] = {"labels": mongodb.MEMBER, "annotations": read_when_started(certificate)}
        after = pulumi.ResourceOptions(parent=self, depends_on=needed)
        whole = {"serviceName": CLINICAL_RECORDS, "selector": {"matchLabels": mongodb.MEMBER}, **spec}
        kept = system_object(name, self._labels, after, "apps/v1", "StatefulSet", CLINICAL_RECORDS, spec=whole)
        if not isinstance(server, FerretDbConfig):
            then = pulumi.ResourceOptions(parent=self, depends_on=[kept])
            for api_version, kind, called, fields in mongodb.beside(config, server):
                system_object(name, self._labels, then, api_version, kind, called, **fields)
        self.register_outputs({})

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


def _service() -> dict[str, Any]:
    """Each member goes by a name of its own, also before it is ready: that is how they find each other."""
    port = {"name": "mongodb", "port": PORT, "protocol": "TCP"}
    return {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": mongodb.MEMBER, "ports": [port]}
