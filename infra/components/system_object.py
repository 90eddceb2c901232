"""An object of the site's own in the system's namespace."""

from __future__ import annotations

from typing import Any

import pulumi

from primage.components.kubernetes_object import KubernetesObject, declare
from primage.contract import names


def single_pod(
    prefix: str, labels: dict[str, str], opts: pulumi.ResourceOptions, name: str, metadata: dict[str, Any], pod: dict[str, Any]
) -> KubernetesObject:
    """Declare a Deployment of one pod, of which there are never two at a time.

    Args:
        prefix, labels: as for `system_object`.
        metadata, pod: of its template.
    """
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {"metadata": metadata, "spec": pod},
    }
    return system_object(prefix, labels, opts, "apps/v1", "Deployment", name, spec=spec)


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
