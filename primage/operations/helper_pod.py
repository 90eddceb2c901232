"""A small pod that a command puts into a namespace to reach its files, with the tenant's own rights and no others."""

from __future__ import annotations

from typing import Any

from primage.clients.cluster import Object
from primage.contract.names import LABEL_MANAGED_BY
from primage.contract.pod_security import container_security, pod_security
from primage.operations.site import Place

LONGEST_S = 86_400
"""When it ends by itself, should the command that made it be killed."""


def helper_pod(
    name: str, place: Place, container: dict[str, Any], *, memory: str, mounts: list[dict[str, Any]], volumes: list[dict[str, Any]]
) -> Object:
    """The pod, which sleeps: whoever made it enters it.

    Args:
        place: the namespace, and whom it runs as.
        container: name and image.
        memory: all it may have, as a Kubernetes quantity.
    """
    amounts = {"cpu": "50m", "memory": memory}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": place.namespace, "labels": {LABEL_MANAGED_BY: "primage"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "activeDeadlineSeconds": LONGEST_S,
            "terminationGracePeriodSeconds": 0,
            "securityContext": pod_security(place.uid, place.gid),
            "containers": [
                {
                    **container,
                    "command": ["sleep", str(LONGEST_S)],
                    "resources": {"requests": amounts, "limits": amounts},
                    "securityContext": container_security(),
                    "volumeMounts": mounts,
                }
            ],
            "volumes": volumes,
        },
    }
