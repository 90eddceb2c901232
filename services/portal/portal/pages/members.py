"""Who is in a VO and who asks to be, for those who look after it: as the cluster has it, with their own token."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from portal.domain.errors import RefusedError
from portal.domain.person import KNOWN_ROLES
from portal.pages.shared import OwnForm, Visit, Visiting, renew, require_member, roles_in, to
from primage.clients.cluster import Refused
from primage.contract.memberships import LONGEST_REASON, State, Verdict
from primage.errors import ExitCode, PrimageError
from primage.operations import memberships
from primage.operations.people import People, member_called, people_of

router = APIRouter()
Whom = Annotated[str, Path(max_length=200, pattern=r"^[a-z0-9][a-z0-9._+@-]*$")]
ONE = "/members/{vo}/{identity}"


@router.get("/members")
def every_one(who: Visiting) -> Response:
    """VO by VO; of one whose members somebody may not list, nobody."""
    lists: list[tuple[str, People | None]] = []
    for one in who.session.person.memberships:
        try:
            lists.append((one.vo, people_of(who.cluster, one.vo)))
        except Refused:
            lists.append((one.vo, None))
    return who.page("members", lists=lists, State=State)


@router.get(ONE)
def one(who: Visiting, vo: str, identity: Whom) -> Response:
    """One of them, and what may be decided."""
    return _page(who, vo, identity)


@router.post(ONE)
def decide(who: Visiting, vo: str, identity: Whom, form: OwnForm) -> Response:
    """Decide about them."""
    require_member(who, vo)
    try:
        verdict = Verdict(form.get("do", ""))
    except ValueError as error:
        raise RefusedError(400, "The form does not say what is to be done") from error
    me, roles = who.session.person.identity, roles_in(form) if verdict.gives else ()
    try:
        memberships.decide(who.cluster, vo, identity, verdict, by=me, roles=roles, reason=form.get("reason", ""))
    except PrimageError as error:
        if error.code is ExitCode.UNREACHABLE:
            raise
        return _page(who, vo, identity, 422, problem=error.what, chosen=roles_in(form), reason=form.get("reason", ""))
    if identity == me:
        renew(who)
    return to("/members")


def _page(
    who: Visit, vo: str, identity: str, status: int = 200, *, problem: str = "", chosen: tuple[str, ...] = (), reason: str = ""
) -> Response:
    require_member(who, vo)
    member = member_called(who.cluster, vo, identity)
    request = memberships.request_by(who.cluster, vo, identity)
    asks = request if request and request.is_open and request.asks == "join" else None
    if member is None and asks is None:
        raise RefusedError(404, f"Nobody of this name is in {vo}, or asks to be")
    chosen = chosen or (asks.roles if asks else member.roles if member else ())
    given = {"known": KNOWN_ROLES, "longest": LONGEST_REASON, "problem": problem, "chosen": chosen, "reason": reason}
    return who.page("member", status, vo=vo, identity=identity, member=member, asks=asks, **given)
