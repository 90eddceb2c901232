"""What an object is short of until its tenant can be said to be ready."""

from __future__ import annotations

from primage.contract.tenant_objects.objects import Object


def short_of(obj: Object) -> str:
    """What is missing, in words; empty where nothing is: a claim has its volume, a Deployment its pods.

    A volume is to be known to Kubernetes' controller, which alone writes its phase.
    """
    status, name = obj.get("status") or {}, obj["metadata"]["name"]
    if obj["kind"] == "PersistentVolume" and status.get("phase", "Pending") == "Pending":
        return f"volume {name} is Pending"
    if obj["kind"] == "PersistentVolumeClaim" and status.get("phase") != "Bound":
        return f"claim {name} is {status.get('phase', 'Pending')}"
    if obj["kind"] == "Deployment":
        wanted = obj["spec"].get("replicas", 1)
        seen = status.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0)
        if not seen or status.get("updatedReplicas", 0) < wanted or status.get("availableReplicas", 0) < wanted:
            return f"{name}: {status.get('availableReplicas', 0)} of {wanted} available"
    return ""
