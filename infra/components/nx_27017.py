"""NX-27017 on SQLite, in one pod (images/nx-27017/requirements.in).

It asks nobody who they are. So it listens on the loopback, and stunnel before it lets in who has the one certificate that there is.
"""

from __future__ import annotations

from typing import Any

from infra.components.door import door
from infra.components.kept import claims, folders
from primage.contract.pod_security import container_security, system_pod_security
from primage.contract.records import AUTHORITY_KEY, CLIENT_SECRET, PORT, Nx27017Config, RecordsConfig

UID = 10009
BEHIND = 27018
START_S = 60
READABLE = 0o440
"""By the pod's group, which is nobody else's."""


def stateful_set(config: RecordsConfig, own: Nx27017Config) -> dict[str, Any]:
    """Of its `spec`, what is NX-27017's."""
    authority = [{"key": AUTHORITY_KEY, "path": AUTHORITY_KEY}]
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": system_pod_security(UID),
        "containers": [_server(own), _door(own)],
        "volumes": [
            {"name": "tls", "secret": {"secretName": config.certificate_secret, "defaultMode": READABLE}},
            # Not the client's key.
            {"name": "client", "secret": {"secretName": CLIENT_SECRET, "defaultMode": READABLE, "items": authority}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            *folders(records=own.kept),
        ],
    }
    return {"replicas": 1, "template": {"spec": pod}, **claims(records=own.kept)}


def _server(own: Nx27017Config) -> dict[str, Any]:
    # What is asked from outside the pod does not reach its loopback.
    asks = f"import socket; socket.create_connection(('127.0.0.1', {BEHIND}), 5).close()"
    asked: dict[str, Any] = {"exec": {"command": ["python3", "-c", asks]}, "timeoutSeconds": 5}
    return {
        "name": "nx-27017",
        "image": own.image,
        "imagePullPolicy": "IfNotPresent",
        "startupProbe": {**asked, "periodSeconds": 1, "failureThreshold": START_S},
        "livenessProbe": {**asked, "periodSeconds": 60},
        "resources": {"requests": {"cpu": "5m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": own.memory}},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "records", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def _door(own: Nx27017Config) -> dict[str, Any]:
    mounts = [
        {"name": "tls", "mountPath": "/tls", "readOnly": True},
        {"name": "client", "mountPath": "/client", "readOnly": True},
    ]
    return door("stunnel", own.image, ["stunnel4", "/etc/stunnel/records.conf"], ("mongodb", PORT), mounts)
