"""What the pods of Contour and of Envoy have alike: nobody's rights, and a certificate each by which they know each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from primage.components.xds_certificates import CONTOUR
from primage.contract.pod_security import container_security, system_pod_security

CERTIFICATES = "/certificates"
XDS_PORT = 8001
"""Where Contour tells Envoy."""


def xds_pod(uid: int, whose: str, fields: dict[str, Any], volumes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `spec` of one.

    Args:
        uid: whom it runs as.
        whose: the prefix of its certificate in their Secret.
        fields: what else it has.
        volumes: beside that of its certificate.
    """
    items = [{"key": "ca.crt", "path": "ca.crt"}, *({"key": f"{whose}.{end}", "path": f"tls.{end}"} for end in ("crt", "key"))]
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": system_pod_security(uid),
        **fields,
        "volumes": [{"name": "certificates", "secret": {"secretName": CONTOUR, "items": items, "defaultMode": 0o440}}, *volumes],
    }


def xds_container(name: str, image: str, args: list[str], mounts: dict[str, str], **fields: Any) -> dict[str, Any]:
    """One container, with its certificate and these volumes, each where it is mounted."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "certificates", "mountPath": CERTIFICATES, "readOnly": True},
            *({"name": volume, "mountPath": path} for volume, path in mounts.items()),
        ],
        **fields,
    }
