"""Which Jobs of a member are held back because the member has no role."""

from __future__ import annotations

from enum import Enum

from primage.contract import names
from primage.contract.hpc import FINALIZER
from primage.contract.tenant_objects.objects import Object

NO_ROLE = "its member has no role in the virtual organisation"
ENDED = ("Complete", "Failed")


class Held(Enum):
    """What becomes of one."""

    SUSPENDED = "is suspended"
    LET_GO = "goes on"


def at_a_centre(job: Object) -> bool:
    """Whether the HPC connector has still to see to something of a Job at its centre: what runs there, or a folder."""
    conditions = (job.get("status") or {}).get("conditions") or []
    suspended = any(one["type"] == "Suspended" and one["status"] == "True" for one in conditions)
    return FINALIZER in (job["metadata"].get("finalizers") or []) and not suspended


def held(job: Object, *, may_run: bool) -> Held | None:
    """What is to be done about a Job; None for nothing: it has ended, or is suspended for another reason."""
    conditions = (job.get("status") or {}).get("conditions") or []
    if any(one["type"] in ENDED and one["status"] == "True" for one in conditions):
        return None
    suspended = bool(job["spec"].get("suspend"))
    if not may_run:
        return None if suspended else Held.SUSPENDED
    ours = (job["metadata"].get("annotations") or {}).get(names.ANNOTATION_SUSPENDED) == NO_ROLE
    return Held.LET_GO if suspended and ours else None
