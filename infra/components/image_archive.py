"""The site's archive of medical images: what keeps them, with its passwords, its ways in, and no way out."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any

import pulumi

from infra.components import dcm4chee, orthanc
from infra.components.https_server import certificates, read_when_started
from infra.components.system_object import system_object
from primage.components.login_secrets import LoginSecrets
from primage.contract import names
from primage.contract.image_archive import (
    DICOM_PORT,
    PASSWORD_KEY,
    WEB_PORT,
    Dcm4cheeConfig,
    ImageArchiveConfig,
    OrthancConfig,
    ShelfConfig,
    dicom_port_name,
)
from primage.paths import named_file
from primage.projects.connection import Connection

ANNOTATION_TOLD = "primage.eu/told"
"""Of the pod: digest of what it was told, which it reads when it starts."""


class ImageArchive(pulumi.ComponentResource):
    """A StatefulSet of one pod; service `datasets` reaches its DICOMweb, senders its DICOM, and nobody else anything.

    Args:
        labels: of the Secrets that are generated.
    """

    def __init__(
        self,
        name: str,
        config: ImageArchiveConfig,
        cluster: Connection,
        labels: dict[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:ImageArchive", name, {}, opts)
        self._name, self._config = name, config
        self._labels = {names.LABEL_APP: names.IMAGE_ARCHIVE}
        self._here = pulumi.ResourceOptions(parent=self)
        self._declare = partial(system_object, name, self._labels, self._here)
        given = {**cluster.as_inputs(), "namespace": names.SYSTEM_NAMESPACE, "labels": {**labels, **self._labels}}
        certificate = certificates(name, config, config.hosts, given, self._here)
        told, spec = _what_is_run(config)
        told_senders = {"ca.crt": named_file(config.senders_authority).read_text()} if config.senders_authority else {}
        needed = [*certificate, *self._secrets(given), *self._ways(), *self._config_maps(told, told_senders)]
        digest = hashlib.sha256(json.dumps([told, told_senders], sort_keys=True).encode()).hexdigest()[:16]
        spec["template"]["metadata"] = {
            "labels": self._labels,
            "annotations": {ANNOTATION_TOLD: digest, **read_when_started(certificate)},
        }
        after = pulumi.ResourceOptions(parent=self, depends_on=needed)
        whole = {"replicas": 1, "serviceName": names.IMAGE_ARCHIVE, "selector": {"matchLabels": self._labels}, **spec}
        system_object(name, self._labels, after, "apps/v1", "StatefulSet", names.IMAGE_ARCHIVE, spec=whole)
        self.register_outputs({})

    def _secrets(self, given: dict[str, Any]) -> list[pulumi.Resource]:
        """The server's own, and those of each shelf: one more VO changes nobody else's."""
        own = orthanc.SECRET_KEYS if isinstance(self._config.server, OrthancConfig) else dcm4chee.SECRET_KEYS
        wanted = {names.IMAGE_ARCHIVE: [*own]}
        wanted |= {shelf.secret: [PASSWORD_KEY, orthanc.DATABASE_PASSWORD_KEY] for shelf in self._config.shelves}
        return [
            LoginSecrets(f"{self._name}-{secret}", {**given, "secret": secret, "keys": keys}, self._here)
            for secret, keys in wanted.items()
        ]

    def _config_maps(self, told: dict[str, str], senders: dict[str, str]) -> list[pulumi.Resource]:
        found = [self._declare("v1", "ConfigMap", names.IMAGE_ARCHIVE, data=told)]
        if senders:
            found.append(self._declare("v1", "ConfigMap", names.IMAGE_SENDERS, data=senders))
        return list(found)

    def _ways(self) -> list[pulumi.Resource]:
        """In: the one service, and where senders are. Out: nowhere, so that nothing that is in it gets anywhere by itself."""
        service = [{"podSelector": {"matchLabels": {names.LABEL_APP: names.DATASETS}}}]
        ingress: list[dict[str, Any]] = [{"from": service, "ports": [_tcp(WEB_PORT)]}]
        if self._config.networks:
            senders = [{"ipBlock": {"cidr": cidr}} for cidr in self._config.networks]
            ingress.append({"from": senders, "ports": [_tcp(port) for port in _dicom_ports(self._config)]})
        policy = {
            "podSelector": {"matchLabels": self._labels},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [],
        }
        found: list[pulumi.Resource] = [self._declare("networking.k8s.io/v1", "NetworkPolicy", names.IMAGE_ARCHIVE, spec=policy)]
        for shelf in self._config.shelves:
            found += self._services(shelf)
        return found

    def _services(self, shelf: ShelfConfig) -> list[pulumi.Resource]:
        space = names.namespace_for(shelf.vo)
        web = {"name": "https", "port": WEB_PORT, "protocol": "TCP", "targetPort": "https"}
        found: list[pulumi.Resource] = [
            self._declare("v1", "Service", names.image_shelf(space), spec={"selector": self._labels, "ports": [web]})
        ]
        if shelf.senders:
            exposed = {"nodePort": shelf.node_port} if shelf.node_port else {}
            # Where a sender's connection comes from is what the policy asks: another node would put its own address there.
            local = {"type": "NodePort", "externalTrafficPolicy": "Local"} if shelf.node_port else {"type": "ClusterIP"}
            dicom = {"name": "dicom", "port": DICOM_PORT, "protocol": "TCP", "targetPort": dicom_port_name(shelf.vo), **exposed}
            spec = {**local, "selector": self._labels, "ports": [dicom]}
            found.append(self._declare("v1", "Service", names.image_sending(space), spec=spec))
        return found


def _what_is_run(config: ImageArchiveConfig) -> tuple[dict[str, str], dict[str, Any]]:
    """What goes into the config map, and of the StatefulSet what differs from kind to kind."""
    if isinstance(config.server, Dcm4cheeConfig):
        pod, own = dcm4chee.pod(config, config.server), dcm4chee.volume_claims(config.server)
        return dcm4chee.told(config), {"template": {"spec": pod}, **own}
    pod, own = orthanc.pod(config, config.server), orthanc.volume_claims(config.server)
    return orthanc.told(config), {"template": {"spec": pod}, **own}


def _dicom_ports(config: ImageArchiveConfig) -> list[int]:
    return [dcm4chee.DICOM] if isinstance(config.server, Dcm4cheeConfig) else orthanc.dicom_ports(config)


def _tcp(port: int) -> dict[str, Any]:
    return {"port": port, "protocol": "TCP"}
