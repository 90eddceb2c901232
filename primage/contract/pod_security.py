"""What the pods of a site may not do: Pod Security `restricted`, and a root file system that nobody writes.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from typing import Any


def pod_security(uid: Any, gid: Any) -> dict[str, Any]:
    """A pod's `securityContext`: a member, or nobody in particular for the VO; in the VO's group.

    Args:
        uid: POSIX user, and the number of a member's own group, which the private folder belongs to.
        gid: POSIX group of the VO.
    """
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": gid,
        "supplementalGroups": [uid],
        "fsGroup": gid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def system_pod_security(uid: int) -> dict[str, Any]:
    """The `securityContext` of a pod of the site's own, with a user and a group that nobody else has."""
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "fsGroup": uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """A container's `securityContext`."""
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
