"""The volumes of a server that keeps what it may not lose: folders that every node has, or claims of its own."""

from __future__ import annotations

from typing import Any

from primage.contract.kept import KeptInFolder, KeptOnClaim

Kept = KeptInFolder | KeptOnClaim


def folders(**kept: Kept) -> list[dict[str, Any]]:
    """Of a pod, the volumes that are folders. Role shared_folders makes those: the authorizer makes tenants' only."""
    return [
        {"name": name, "hostPath": {"path": one.path, "type": "Directory"}}
        for name, one in kept.items()
        if isinstance(one, KeptInFolder)
    ]


def claims(**kept: Kept) -> dict[str, Any]:
    """Of a StatefulSet, the claims for the others."""
    found = [
        {
            "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": one.storage_class,
                "resources": {"requests": {"storage": one.size}},
            },
        }
        for name, one in kept.items()
        if isinstance(one, KeptOnClaim)
    ]
    return {"volumeClaimTemplates": found} if found else {}
