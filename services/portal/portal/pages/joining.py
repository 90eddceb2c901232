"""Asking to join a VO, how that stands, and leaving one: everybody for themselves, with their own token."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from portal.domain.errors import RefusedError
from portal.domain.person import KNOWN_ROLES
from portal.pages.shared import OwnForm, Visit, Visiting, renew, require_member, roles_in, to
from primage.contract.memberships import LONGEST_MESSAGE, State, Wish
from primage.contract.names import namespace_for
from primage.errors import ExitCode, PrimageError
from primage.operations import memberships
from primage.operations.memberships import Standing

router = APIRouter()


@router.get("/join")
def standing(who: Visiting) -> Response:
    """What somebody has asked for, and a form to ask with."""
    found = _requests(who)
    approved = any(request.asks == Wish.JOIN.value and request.state is State.APPROVED for _, request in found)
    if approved and not who.session.person.memberships:
        renew(who)
    return _page(who, found)


@router.post("/join")
def ask(who: Visiting, form: OwnForm) -> Response:
    """Ask."""
    vo, message = form.get("vo", ""), form.get("message", "").replace("\r\n", "\n")
    _require_served(who, vo)
    try:
        memberships.ask_to_join(who.cluster, vo, who.session.person.identity, roles_in(form), message)
    except PrimageError as error:
        if error.code is ExitCode.UNREACHABLE:
            raise
        return _page(who, _requests(who), 422, problem=error.what, vo=vo, chosen=roles_in(form), message=message)
    return to("/join")


@router.post("/join/{vo}/withdraw")
def withdraw(who: Visiting, vo: str, _: OwnForm) -> Response:
    """Take a request back."""
    _require_served(who, vo)
    memberships.withdraw(who.cluster, vo, who.session.person.identity)
    return to("/join")


@router.get("/leave/{vo}")
def really(who: Visiting, vo: str) -> Response:
    """Ask whether somebody means it."""
    require_member(who, vo)
    return who.page("leave", vo=vo, namespace=namespace_for(who.session.person.identity), problem="")


@router.post("/leave/{vo}")
def leave(who: Visiting, vo: str, _: OwnForm) -> Response:
    """Leave."""
    require_member(who, vo)
    try:
        memberships.leave(who.cluster, vo, who.session.person.identity)
    except PrimageError as error:
        if error.code is ExitCode.UNREACHABLE:
            raise
        return who.page("leave", 422, vo=vo, namespace=namespace_for(who.session.person.identity), problem=error.what)
    renew(who)
    return to("/")


def _requests(who: Visit) -> list[tuple[str, Standing]]:
    """Somebody's own, VO by VO."""
    vos, identity = who.portal.settings.vos, who.session.person.identity
    found = [(vo, memberships.own_request(who.cluster, vo, identity)) for vo in vos]
    return [(vo, request) for vo, request in found if request]


def _page(who: Visit, found: list[tuple[str, Standing]], status: int = 200, **given: Any) -> Response:
    values = {"problem": "", "vo": "", "chosen": (), "message": "", **given}
    asked = {vo for vo, request in found if request.is_open}
    free = [vo for vo in who.portal.settings.vos if vo not in asked] if not who.session.person.memberships else []
    return who.page("join", status, requests=found, free=free, known=KNOWN_ROLES, longest=LONGEST_MESSAGE, State=State, **values)


def _require_served(who: Visit, vo: str) -> None:
    if vo not in who.portal.settings.vos:
        raise RefusedError(404, "This site serves no such VO")
