"""Logging in, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response

from portal.clients.provider import PATIENCE_S
from portal.domain.addresses import local_path
from portal.domain.errors import LoginRefusedError, RefusedError
from portal.domain.person import login_of, person_of
from portal.pages.shared import (
    BEGUN,
    SESSION,
    LoggedOutError,
    OwnForm,
    Visiting,
    forget,
    form,
    keep,
    log,
    portal_of,
    show,
    to,
    who_asks,
)
from primage.contract.holder import NobodyError
from primage.contract.login import LOGGED_IN, LOGIN_ENDED

router = APIRouter()


@router.get("/login")
def begin(request: Request, after: Annotated[str, Query(alias="next")] = "/") -> Response:
    """Send a browser to the identity provider."""
    try:
        who_asks(request)
    except LoggedOutError:
        url, kept = portal_of(request).provider.begin(local_path(after))
        answer = RedirectResponse(url, 303)
        keep(answer, BEGUN, kept, PATIENCE_S)
        return answer
    return to(local_path(after))


@router.get(LOGGED_IN)
def finish(request: Request) -> Response:
    """A browser has come back."""
    portal = portal_of(request)
    try:
        tokens, claims, after = portal.provider.finish(request.cookies.get(BEGUN, ""), dict(request.query_params))
        person = person_of(claims, portal.settings.vos)
    except (LoginRefusedError, NobodyError) as error:
        log.warning("a login is refused: %s", error)
        answer: Response = show(request, "refused", 400, why=str(error))
        forget(answer, BEGUN)
        return answer
    if before := portal.sessions.end(request.cookies.get(SESSION, "")):
        portal.end(before)
    number, made_room = portal.sessions.begin(person, tokens, login_of(claims))
    for session in made_room:
        portal.end(session)
    log.info("%s has logged in", person.identity)
    answer = to(local_path(after))
    keep(answer, SESSION, number)
    forget(answer, BEGUN)
    return answer


@router.post("/logout")
def log_out(request: Request, who: Visiting, _: OwnForm) -> Response:
    """End it here first, and then at the identity provider."""
    portal = portal_of(request)
    portal.sessions.end(request.cookies.get(SESSION, ""))
    ended = portal.end(who.session)
    log.info("%s has logged out", who.session.person.identity)
    answer = show(request, "bye", ended=ended)
    forget(answer, SESSION)
    return answer


@router.post(LOGIN_ENDED)
def has_ended(request: Request, given: Annotated[dict[str, str], Depends(form)]) -> Response:
    """The identity provider says that a login has ended, wherever it was: so it has here."""
    portal = portal_of(request)
    try:
        found = portal.logout_tokens.read(given.get("logout_token", ""))
    except LoginRefusedError as error:
        raise RefusedError(400, f"No login has ended by this: {error}") from error
    for session in portal.sessions.end_all(found.login, found.account):
        log.info("%s has been logged out by the identity provider", session.person.identity)
    return PlainTextResponse("")
