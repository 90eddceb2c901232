"""The pod of the image archive with Orthanc: a process for each shelf, on one PostgreSQL, behind one NGINX.

Debian's Orthanc cannot end TLS for HTTP itself (ADR 0029); for DICOM it does.
"""

from __future__ import annotations

import json
from typing import Any

from infra.archive_proxy import leads_to, nginx
from infra.components.door import door
from infra.components.kept import claims, folders
from infra.components.postgresql import postgresql
from infra.orthanc import CONNECTIONS, DATABASE_PASSWORD, FILTER, IMAGES, PASSWORD, REQUESTS, SENDERS, TLS, TOLD, settings
from primage.contract import names
from primage.contract.image_archive import (
    PASSWORD_KEY,
    WEB_PORT,
    ImageArchiveConfig,
    OrthancConfig,
    ShelfConfig,
    dicom_port_name,
    shelf_host,
)
from primage.contract.pod_security import container_security, system_pod_security

UID = 10008
HTTP, DICOM = 8050, 11112
"""Of the pod's ports the first for each shelf's HTTP, which nobody but NGINX gets an answer from, and for its DICOM."""
MAIN_DATABASE = "archive"
DATABASE_PASSWORD_KEY = "database-password"  # noqa: S105  # a key in a Secret
SECRET_KEYS = (DATABASE_PASSWORD_KEY,)
PROXY_SETTINGS = "nginx.conf"
START_S = 300
READABLE = 0o440
"""By the pod's group, which is nobody else's."""


def told(archive: ImageArchiveConfig) -> dict[str, str]:
    """The config map: what each process is told."""
    each = {f"{name}.json": json.dumps(settings(shelf, name, HTTP + n, DICOM + n), indent=1) for n, (name, shelf) in _of(archive)}
    servers = {shelf_host(shelf.vo): leads_to(HTTP + number) for number, (_, shelf) in _of(archive)}
    return {**each, FILTER: REQUESTS, PROXY_SETTINGS: nginx(servers)}


def dicom_ports(archive: ImageArchiveConfig) -> list[int]:
    """Where the pod listens for DICOM, shelf by shelf."""
    return [DICOM + number for number in range(len(archive.shelves))]


def volume_claims(own: OrthancConfig) -> dict[str, Any]:
    """Of the StatefulSet."""
    return claims(database=own.index, images=own.images)


def pod(archive: ImageArchiveConfig, own: OrthancConfig) -> dict[str, Any]:
    """The pod's `spec`."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": system_pod_security(UID),
        "initContainers": [_database(archive, own), _folders(archive, own)],
        "containers": [_proxy(own), *(_orthanc(own, name, shelf, number) for number, (name, shelf) in _of(archive))],
        "volumes": [
            {"name": "tls", "secret": {"secretName": archive.certificate_secret, "defaultMode": READABLE}},
            {"name": "senders", "configMap": {"name": names.IMAGE_SENDERS}}
            if archive.senders_authority
            else {
                "name": "senders",
                "secret": {"secretName": archive.certificate_secret, "defaultMode": READABLE, "items": _AUTHORITY},
            },
            {"name": "passwords", "secret": {"secretName": names.IMAGE_ARCHIVE, "defaultMode": READABLE}},
            {"name": "databases", "projected": {"defaultMode": READABLE, "sources": _databases(archive)}},
            {"name": "told", "configMap": {"name": names.IMAGE_ARCHIVE}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
            {"name": "database-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            *folders(database=own.index, images=own.images),
        ],
    }


_AUTHORITY = [{"key": "ca.crt", "path": "ca.crt"}]


def _of(archive: ImageArchiveConfig) -> list[tuple[int, tuple[str, ShelfConfig]]]:
    """Shelves with their numbers, and what each is called in the pod: its database, and its folder."""
    return list(enumerate((names.namespace_for(shelf.vo), shelf) for shelf in archive.shelves))


def _databases(archive: ImageArchiveConfig) -> list[dict[str, Any]]:
    """Passwords, each as a file that has the database's name."""
    return [
        {"secret": {"name": shelf.secret, "items": [{"key": DATABASE_PASSWORD_KEY, "path": name}]}}
        for _, (name, shelf) in _of(archive)
    ]


def _database(archive: ImageArchiveConfig, own: OrthancConfig) -> dict[str, Any]:
    # Each of a shelf's, one that looks whether it answers, and a few that are the administrator's alone.
    connections = (CONNECTIONS + 2) * len(archive.shelves) + 5
    return postgresql(own.database_image, MAIN_DATABASE, DATABASE_PASSWORD_KEY, connections, {"DATABASES": "databases"})


def _folders(archive: ImageArchiveConfig, own: OrthancConfig) -> dict[str, Any]:
    """Makes a folder for each shelf: of one that is not there, Kubernetes would make one that belongs to root."""
    made = [f"{IMAGES}/{name}" for _, (name, _shelf) in _of(archive)]
    return {
        "name": "folders",
        "image": own.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["mkdir", "--parents", "--mode=0700", *made],
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [{"name": "images", "mountPath": IMAGES}],
    }


def _proxy(own: OrthancConfig) -> dict[str, Any]:
    command = ["nginx", "-e", "stderr", "-c", f"{TOLD}/{PROXY_SETTINGS}", "-g", "daemon off;"]
    mounts: list[dict[str, Any]] = [
        {"name": "tls", "mountPath": TLS, "readOnly": True},
        {"name": "told", "mountPath": TOLD, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp", "subPath": "proxy"},  # noqa: S108
    ]
    return door("proxy", own.proxy_image, command, ("https", WEB_PORT), mounts)


def _orthanc(own: OrthancConfig, name: str, shelf: ShelfConfig, number: int) -> dict[str, Any]:
    secret = {PASSWORD: PASSWORD_KEY, DATABASE_PASSWORD: DATABASE_PASSWORD_KEY}
    # It listens once it has its database. Nobody who asks has a password to ask for more with.
    asked = {"tcpSocket": {"port": HTTP + number}}
    return {
        "name": f"orthanc-{number}",
        "image": own.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [f"{TOLD}/{name}.json"],
        "env": [
            {"name": variable, "valueFrom": {"secretKeyRef": {"name": shelf.secret, "key": key}}}
            for variable, key in secret.items()
        ],
        "ports": [{"name": dicom_port_name(shelf.vo), "containerPort": DICOM + number}],
        "startupProbe": {**asked, "periodSeconds": 1, "failureThreshold": START_S},
        "readinessProbe": {**asked, "periodSeconds": 10},
        "livenessProbe": {**asked, "periodSeconds": 30},
        "resources": {"requests": {"cpu": "5m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": own.memory}},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "tls", "mountPath": TLS, "readOnly": True},
            {"name": "senders", "mountPath": SENDERS, "readOnly": True},
            {"name": "told", "mountPath": TOLD, "readOnly": True},
            {"name": "images", "mountPath": f"{IMAGES}/{name}", "subPath": name},
            {"name": "tmp", "mountPath": "/tmp", "subPath": f"orthanc-{number}"},  # noqa: S108
        ],
    }
