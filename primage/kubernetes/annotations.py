"""Annotations of Pulumi's Kubernetes provider that both engines heed: how an object is applied and waited for."""

from __future__ import annotations

from primage.clients.cluster import Object

SKIP_AWAIT = "pulumi.com/skipAwait"
TIMEOUT = "pulumi.com/timeoutSeconds"
WAIT_FOR = "pulumi.com/waitFor"
PATCH_FORCE = "pulumi.com/patchForce"


def annotation(obj: Object, name: str) -> str:
    """An annotation's value, empty when it is not there."""
    value = (obj.get("metadata", {}).get("annotations") or {}).get(name, "")
    return str(value)
