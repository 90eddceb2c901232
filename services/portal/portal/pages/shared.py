"""What pages share: who asks, their form, and how a page is shown."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from portal.clients.catalogue import Application, applications
from portal.clients.kubernetes import ApiServer
from portal.clients.launches import Launches
from portal.clients.logout_tokens import LogoutTokens
from portal.clients.provider import Provider
from portal.clients.readings import Readings
from portal.domain.addresses import HOME, local_path
from portal.domain.errors import EndedError, ProviderAwayError, RefusedError
from portal.domain.person import person_of
from portal.domain.sessions import Session, Sessions
from portal.domain.turns import Turns
from primage.clients.cluster import Cluster
from primage.contract.holder import NobodyError
from primage.contract.portal import PortalSettings
from primage.contract.roles import Role

SESSION, BEGUN = "__Host-primage-session", "__Host-primage-login"
"""Cookies: browsers take ones of such names from this host itself alone, by TLS, for all of it."""
FRESH_S = 120
"""The next tokens are got when these are good for no longer."""
MOST_FIELDS = 500
HERE = Path(__file__).resolve().parents[1]
log = logging.getLogger("portal")


class LoggedOutError(Exception):
    """Nobody is logged in at this browser, or not any more."""


@dataclass(frozen=True)
class Portal:
    """What the pages of one portal work with."""

    settings: PortalSettings
    sessions: Sessions
    provider: Provider
    logout_tokens: LogoutTokens
    api: ApiServer
    turns: Turns
    launches: Launches
    readings: Readings
    repository: Path
    templates: Environment

    @property
    def applications(self) -> tuple[Application, ...]:
        """Those that the site's VOs may have."""
        return applications(self.repository)

    def end(self, session: Session) -> bool:
        """End a login at the provider too; whether that could be asked."""
        try:
            with session.turn:
                self.provider.end(session.tokens)
        except ProviderAwayError as error:
            log.warning("%s", error)
            return False
        return True


def templates() -> Environment:
    """Pages' templates: every value is escaped, and one that was forgotten is an error."""
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@dataclass(frozen=True)
class Visit:
    """One request of somebody who has logged in."""

    request: Request
    portal: Portal
    session: Session

    @property
    def cluster(self) -> Cluster:
        """The API server, as who asks: with a token that is good for a while yet."""
        token, known = self.session.tokens.id_token, self.session.connection
        if known is None or known[0] != token:
            self.session.connection = known = token, self.portal.api.as_person(token)
        found: Cluster = known[1]
        return found

    def page(self, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        """A page for them."""
        return show(self.request, template, status, session=self.session, **values)


def portal_of(request: Request) -> Portal:
    """The one that this is asked of."""
    found: Portal = request.app.state.portal
    return found


def show(request: Request, template: str, status: int = 200, /, *, session: Session | None = None, **values: Any) -> HTMLResponse:
    """A page, for somebody or for anybody."""
    portal = portal_of(request)
    given = {"session": session, "site": portal.settings, "path": request.url.path, "menu": _menu(session), **values}
    return HTMLResponse(portal.templates.get_template(f"{template}.html").render(given), status)


def _menu(session: Session | None) -> list[tuple[str, str]]:
    """Addresses and names of the pages that somebody has."""
    if session is None:
        return []
    administers = any(one.administers for one in session.person.memberships)
    more = [("/members", "Members")] if administers else []
    if not session.person.memberships:
        more.append(("/join", "Join"))
    return [("/", "You"), ("/apps", "Applications"), ("/runs", "Runs"), *more]


def who_asks(request: Request) -> Visit:
    """Who asks, by the cookie of their browser.

    Raises:
        LoggedOutError: nobody.
    """
    portal = portal_of(request)
    number = request.cookies.get(SESSION, "")
    session = portal.sessions.find(number) if number else None
    if session is None:
        raise LoggedOutError
    try:
        _keep_fresh(portal, session)
    except EndedError as error:
        portal.sessions.end(number)
        raise LoggedOutError from error
    return Visit(request, portal, session)


def in_turn(request: Request) -> Iterator[Visit]:
    """Who asks, as one of a few at a time; raises as `who_asks` and `Turns.one` do."""
    found = who_asks(request)
    with found.portal.turns.one(found.session.person.account):
        yield found


def renew(who: Visit) -> None:
    """Get the next tokens at once: who somebody is has changed, and the token that they have does not say so yet."""
    try:
        _keep_fresh(who.portal, who.session, math.inf)
    except EndedError as error:
        raise LoggedOutError from error


def _keep_fresh(portal: Portal, session: Session, fresh_s: float = FRESH_S) -> None:
    """Get the next tokens in time. Each is got by the one before, once: who asks at the same time waits, and finds them."""
    if session.tokens.until - time.time() > fresh_s:
        return
    with session.turn:
        left = session.tokens.until - time.time()
        if left > fresh_s:
            return
        try:
            tokens, claims = portal.provider.refresh(session.tokens)
            person = person_of(claims, portal.settings.vos)
        except ProviderAwayError:
            if left > 0:
                return
            raise
        except NobodyError as error:
            raise EndedError(str(error)) from error
        if person.account != session.person.account:
            raise EndedError("the tokens are somebody else's")
        session.tokens, session.person = tokens, person


Visiting = Annotated[Visit, Depends(in_turn)]


async def form(request: Request) -> dict[str, str]:
    """The fields of a form; of several of one name, the last.

    Raises:
        RefusedError: it is no form, or has too many fields.
    """
    body = await request.body()
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, strict_parsing=bool(body)))
    except ValueError as error:
        raise RefusedError(400, "the form cannot be read") from error


def own_form(given: Annotated[dict[str, str], Depends(form)], who: Visiting) -> dict[str, str]:
    """The fields of a form that a page of this very session has.

    Raises:
        RefusedError: it is another's.
    """
    if not secrets.compare_digest(given.pop("csrf", "").encode(), who.session.csrf.encode()):
        raise RefusedError(403, "this form was not sent from a page of your session: load the page again")
    return given


OwnForm = Annotated[dict[str, str], Depends(own_form)]


def require_member(who: Visit, vo: str) -> None:
    """Refuse whoever is not in a VO: to them it is as if it were not there."""
    if who.session.person.membership(vo) is None:
        raise RefusedError(404, "You are not a member of such a VO")


def roles_in(given: dict[str, str]) -> tuple[str, ...]:
    """The roles whose boxes are ticked in a form; names that are no role are nobody's boxes."""
    return tuple(role.value for role in Role if f"role.{role.value}" in given)


def to(path: str) -> RedirectResponse:
    """Go to another page of the portal, by GET."""
    return RedirectResponse(path, 303)


def to_login(request: Request) -> Response:
    """Log in first, and then come back, where that is a page to look at."""
    if request.method == "POST":
        return show(request, "ended", 401)
    after = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return to(f"/login?{urlencode({'next': local_path(after)})}" if after != HOME else "/login")


def keep(answer: Response, name: str, value: str, seconds: int | None = None) -> None:
    """Give a browser something to keep that scripts cannot read and other sites' forms do not send."""
    answer.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")


def forget(answer: Response, name: str) -> None:
    """Have a browser keep it no longer."""
    answer.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")
