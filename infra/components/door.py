"""The container that stands before a server on its pod's loopback, and ends TLS for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from primage.contract.pod_security import container_security


def door(name: str, image: str, command: Sequence[str], port: tuple[str, int], mounts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """NGINX or stunnel, which is well while its port takes connections: whom it lets in, a probe is not.

    Args:
        port: its name and number.
    """
    asked = {"tcpSocket": {"port": port[1]}}
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "ports": [{"name": port[0], "containerPort": port[1]}],
        "readinessProbe": {**asked, "periodSeconds": 10},
        "livenessProbe": {**asked, "periodSeconds": 30},
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
        "securityContext": container_security(),
        "volumeMounts": list(mounts),
    }
