"""The pod of a service that works through the API server, beside a container that is root in a few things and has no token.

Only the first container has the token; the two share a folder in memory with a socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from primage.contract.pod_security import container_security
from primage.contract.probes import probes

RUN = "/run/primage"
"""The folder that both containers have."""
TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  # no token
"""Where clients of the API server look for their token, in a container."""


def token_pod(account: str, uid: int, containers: list[dict[str, Any]], volumes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The pod's `spec`.

    Args:
        account: service account whose token it is.
        uid: group of the shared folder.
        volumes: beside that folder, the token and /tmp.
    """
    return {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {"fsGroup": uid, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": containers,
        "volumes": [
            {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
            token_volume(),
            *volumes,
        ],
    }


def token_container(
    name: str,
    image: str,
    uid: int,
    environment: dict[str, str],
    start_s: int,
    memory: str,
    mounts: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The container that has the token.

    Args:
        start_s: seconds until it is started again when it has not come to its loops.
        memory: the most that it may take.
        mounts: beside those of the shared folder, the token and /tmp.
    """
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "resources": {"requests": {"cpu": "20m", "memory": "150Mi"}, "limits": {"cpu": "1", "memory": memory}},
        **probes(start_s),
        "securityContext": {**container_security(), "runAsNonRoot": True, "runAsUser": uid, "runAsGroup": uid},
        "volumeMounts": [
            {"name": "run", "mountPath": RUN},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True},
            *mounts,
        ],
    }


def token_volume() -> dict[str, Any]:
    """Volume `token` with what Kubernetes would mount by itself, into every container."""
    sources: list[dict[str, Any]] = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return {"name": "token", "projected": {"sources": sources}}
