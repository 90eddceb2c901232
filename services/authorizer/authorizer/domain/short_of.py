"""What an object is short of until its tenant can be said to be ready."""

from __future__ import annotations

from authorizer.domain.objects import Object


def short_of(obj: Object) -> str:
    """What is missing, in words; empty where nothing is: a claim has its volume.

    A tenant can keep the connector's pod from running, and must not keep an operator's `up` from its end with that.
    """
    status = obj.get("status") or {}
    if obj["kind"] == "PersistentVolumeClaim" and status.get("phase") != "Bound":
        return f"claim {obj['metadata']['name']} is {status.get('phase', 'Pending')}"
    return ""
