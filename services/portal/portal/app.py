"""Wiring: pages, what is around them, and what they show when something goes wrong."""

from __future__ import annotations

import time
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from portal.clients.kubernetes import ApiServer
from portal.clients.launches import Launches
from portal.clients.logout_tokens import LogoutTokens
from portal.clients.provider import Provider
from portal.clients.readings import Readings
from portal.domain.errors import ProviderAwayError, RefusedError
from portal.domain.sessions import Sessions
from portal.domain.turns import Turns
from portal.guard import HEALTH, Guard
from portal.pages import account, catalogue, joining, login, members, runs
from portal.pages.shared import LoggedOutError, Portal, log, show, templates, to_login
from portal.settings import Given
from primage.clients.cluster import Refused
from primage.errors import ExitCode, PrimageError
from primage.paths import repository_root

STATIC = Path(__file__).parent / "static"


def portal_with(given: Given) -> Portal:
    """What the pages work with."""
    settings = given.settings
    provider = Provider(settings.issuer, given.password, settings.redirect, given.issuers_authority)
    return Portal(
        settings=settings,
        sessions=Sessions(time.monotonic),
        provider=provider,
        logout_tokens=LogoutTokens(provider, time.monotonic),
        api=ApiServer(settings.api, given.api_authority),
        turns=Turns(),
        launches=Launches(),
        readings=Readings(),
        repository=repository_root(),
        templates=templates(),
    )


def application(portal: Portal) -> ASGIApp:
    """The whole of it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.portal = portal
    for part in (login, account, catalogue, runs, members, joining):
        app.include_router(part.router)
    app.get(HEALTH)(healthy)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.exception_handler(LoggedOutError)(_logged_out)
    app.exception_handler(RefusedError)(_refused)
    app.exception_handler(HTTPException)(_no_page)
    app.exception_handler(RequestValidationError)(_no_address)
    app.exception_handler(Refused)(_api_refused)
    app.exception_handler(PrimageError)(_failed)
    app.exception_handler(ProviderAwayError)(_provider_away)
    return Guard(app, portal.settings.url)


def healthy() -> PlainTextResponse:
    """For Kubernetes: the portal answers. Whether people can log in is the identity provider's matter."""
    return PlainTextResponse("ok\n")


def _logged_out(request: Request, _: Exception) -> Response:
    return to_login(request)


def _problem(request: Request, status: int, what: str, todo: str = "") -> HTMLResponse:
    return show(request, "problem", status, what=what, todo=todo)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    log.warning("%r is refused: %s", request.url.path, error)
    return _problem(request, error.status, str(error))


def _no_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(request, error.status_code, "There is no such page" if error.status_code == 404 else str(error.detail))


def _no_address(request: Request, _: Exception) -> Response:
    return _problem(request, 422, "This address is not one of the portal's")


def _api_refused(request: Request, error: Exception) -> Response:
    """Kubernetes has decided."""
    assert isinstance(error, Refused)
    status = error.status if error.status in {403, 404, 409, 422} else 502
    return _problem(request, status, f"Kubernetes refused this: {error.message}", "ask an administrator of your VO for the role")


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, PrimageError)
    status = {ExitCode.UNREACHABLE: 503, ExitCode.INVALID: 422, ExitCode.USAGE: 400}.get(error.code, 500)
    log.warning("%r: %s", request.url.path, error)
    return _problem(request, status, error.what, error.todo)


def _provider_away(request: Request, error: Exception) -> Response:
    log.warning("%s", error)
    return _problem(
        request, 503, "People cannot log in at the moment: the identity provider does not answer", "try again in a minute"
    )
