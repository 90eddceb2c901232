"""What an object is short of until its tenant can be said to be ready."""

from __future__ import annotations

from primage.contract.tenant_objects.objects import Object


def short_of(obj: Object) -> str:
    """What is missing, in words; empty where nothing is: a claim has its volume, and a volume is known to Kubernetes' controller.

    That controller alone writes a volume's phase.
    """
    status, name = obj.get("status") or {}, obj["metadata"]["name"]
    if obj["kind"] == "PersistentVolume" and status.get("phase", "Pending") == "Pending":
        return f"volume {name} is Pending"
    if obj["kind"] == "PersistentVolumeClaim" and status.get("phase") != "Bound":
        return f"claim {name} is {status.get('phase', 'Pending')}"
    return ""
