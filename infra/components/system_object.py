"""An object of the site's own in the system's namespace."""

from __future__ import annotations

from typing import Any

import pulumi

from primage.components.kubernetes_object import KubernetesObject, declare
from primage.contract import names

TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  # no token
"""Where clients of the API server look for their token, in a container."""


def service_account_token() -> list[dict[str, Any]]:
    """The sources of a volume with what Kubernetes would mount by itself, into every container."""
    return [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]


def system_object(
    prefix: str, labels: dict[str, str], opts: pulumi.ResourceOptions, api_version: str, kind: str, name: str, **fields: Any
) -> KubernetesObject:
    """Declare one.

    Args:
        prefix: the component's name, with which Pulumi's name for the object begins.
        labels: what tells the component's objects from others.
        fields: the object's own beside its metadata: `spec`, `data`, ….
    """
    metadata = {"name": name, "namespace": names.SYSTEM_NAMESPACE, "labels": labels}
    obj = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}
    return declare(f"{prefix}-{kind.lower()}-{name}", obj, opts)
