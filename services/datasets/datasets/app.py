"""Wiring: pages, the interface for programs, what is around them, and what they say when something goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from datasets.clients.archive import Archive
from datasets.clients.eforms import read_forms
from datasets.clients.held import HeldImages
from datasets.clients.keys import read_key
from datasets.clients.provider import Provider
from datasets.clients.records import Records, connect
from datasets.domain.errors import (
    ArchiveAwayError,
    LoginRefusedError,
    ProviderAwayError,
    RecordsAwayError,
    RefusedError,
    RefusedImageError,
)
from datasets.domain.people import Act
from datasets.guard import HEALTH, RETRY_S, Guard
from datasets.log import log
from datasets.pages import cases, images, interface
from datasets.pages.shared import HERE, Service, asker, show
from datasets.settings import Given

API = "/api/"
HEADINGS = {401: "Please log in", 403: "Not yours to do", 404: "Not there", 409: "Changed meanwhile", 503: "Try again in a minute"}


def service_with(given: Given) -> Service:
    """What the pages work with; the records are brought up to date.

    Raises:
        FormError, OSError, ValueError: a form or the key is none.
        RecordsAwayError: the records cannot be asked.
    """
    settings, forms = given.settings, read_forms()
    records = Records(connect(given.records_url, settings.database, **given.records_login), forms)
    records.prepare()
    provider = Provider(settings.issuer, settings.audience, given.issuers_authority)
    archives = {vo: Archive(*found) for vo in settings.vos if (found := given.archive_of(vo))}
    return Service(settings, forms, records, provider, read_key(given.key), HeldImages(given.held), archives)


def application(service: Service) -> ASGIApp:
    """The whole of it."""
    app = FastAPI(
        title="Datasets",
        version="1",
        description="Cases, their images and datasets of virtual organisations.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(interface.router)
    app.include_router(images.router)
    app.get(HEALTH, include_in_schema=False)(healthy)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.include_router(cases.router)
    for kind, status in (
        (LoginRefusedError, 401),
        (ProviderAwayError, 503),
        (RecordsAwayError, 503),
        (ArchiveAwayError, 503),
        (RefusedImageError, 422),
    ):
        app.exception_handler(kind)(_said(status))
    app.exception_handler(RefusedError)(_refused)
    app.exception_handler(HTTPException)(_no_page)
    app.exception_handler(RequestValidationError)(_not_so)
    return Guard(app, service.settings.url, partial(_sends, service))


def _sends(service: Service, scope: Scope, vo: str) -> bool:
    """Whether somebody's image is read at all; those who are no such people are told why by the page."""
    try:
        return asker(Request(scope), service).may(vo, Act.SEND_IMAGES)
    except (LoginRefusedError, ProviderAwayError):
        return False


async def healthy() -> PlainTextResponse:
    """For Kubernetes: the service answers, however many threads wait for something."""
    return PlainTextResponse("ok\n")


def _problem(request: Request, status: int, what: str) -> Response:
    if request.url.path.startswith(API):
        return JSONResponse({"what": what}, status)
    return show(request, "problem", status, who=None, heading=HEADINGS.get(status, "This was refused"), what=what)


def _said(status: int) -> Callable[[Request, Exception], Response]:
    def handler(request: Request, error: Exception) -> Response:
        log.warning("%r: %s", request.url.path, error)
        answer = _problem(request, status, f"{error}")
        if status == 401:
            answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    return handler


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    log.warning("%r is refused with %d", request.url.path, error.status)
    answer = _problem(request, error.status, str(error))
    if error.status == 503:
        answer.headers["Retry-After"] = RETRY_S
    return answer


def _no_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(request, error.status_code, "There is no such page" if error.status_code == 404 else str(error.detail))


def _not_so(request: Request, error: Exception) -> Response:
    """What was sent has not the form that it should have; what it holds is not said again."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _problem(request, 422, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")
