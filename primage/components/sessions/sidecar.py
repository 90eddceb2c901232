"""What runs beside a session's server in its pod."""

from __future__ import annotations

from typing import Any

from primage.contract.pod_security import container_security

_ROOM = {"ephemeral-storage": "16Mi"}


def sidecar(name: str, image: str, kept: tuple[str, str], most: tuple[str, str], **fields: Any) -> dict[str, Any]:
    """A native sidecar: it is there before the session's server, and the Job is complete without it.

    Args:
        kept, most: processor and memory that are kept for it, and the most it may have of them.
        fields: what else the container has.
    """
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "resources": {
            "requests": {"cpu": kept[0], "memory": kept[1], **_ROOM},
            "limits": {"cpu": most[0], "memory": most[1], **_ROOM},
        },
        "securityContext": container_security(),
        **fields,
    }
