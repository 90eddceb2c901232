"""Who is in a VO, for those who look after it: as the cluster has it, with their own token."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from portal.pages.shared import Visiting
from primage.clients.cluster import Refused
from primage.contract import custom_resources as custom

router = APIRouter()
MOST = 5000


@router.get("/members")
def every_one(who: Visiting) -> Response:
    """VO by VO; of one whose members somebody may not list, nobody."""
    lists: list[tuple[str, list[dict[str, Any]] | None]] = []
    for one in who.session.person.memberships:
        try:
            found = who.cluster.list(custom.API_VERSION, custom.MEMBER, one.namespace, most=MOST)
        except Refused:
            lists.append((one.vo, None))
            continue
        lists.append((one.vo, sorted(map(_row, found), key=lambda row: str(row["identity"]))))
    return who.page("members", lists=lists)


def _row(obj: dict[str, Any]) -> dict[str, Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return {
        "identity": str(spec.get("identity", "")),
        "roles": [str(role) for role in spec.get("roles") or []],
        "phase": str(status.get("phase", "")) or custom.WAITING,
        "problem": str(status.get("problem", "")),
    }
