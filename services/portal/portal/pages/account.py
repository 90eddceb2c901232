"""Who somebody is here, what they may do, and what they have left."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from portal.domain.person import WORDS
from portal.domain.quota import Amount, amounts
from portal.pages.shared import LoggedOutError, Visit, show, who_asks
from primage.clients.cluster import Refused

router = APIRouter()


@router.get("/")
def home(request: Request) -> Response:
    """Somebody's own page, or for who has not logged in what this is."""
    try:
        who = who_asks(request)
    except LoggedOutError:
        return show(request, "welcome")
    person = who.session.person
    with who.portal.turns.one(person.account):
        return who.page("account", own=_quota(who, person.namespace), shared=_shared(who), words=WORDS)


def _shared(who: Visit) -> dict[str, list[Amount] | None]:
    return {one.vo: _quota(who, one.namespace) for one in who.session.person.memberships}


def _quota(who: Visit, namespace: str) -> list[Amount] | None:
    """Of a namespace; None where who asks may not see it, or where it is not there yet."""
    try:
        return amounts(who.cluster.list("v1", "ResourceQuota", namespace, most=100))
    except Refused:
        return None
