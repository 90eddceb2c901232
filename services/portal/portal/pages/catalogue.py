"""The VO's applications, each with a form of its settings, and starting them."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from portal.clients.catalogue import Application
from portal.domain.errors import RefusedError
from portal.domain.forms import by_field, settings_of, texts_of
from portal.domain.launch import Work
from portal.pages.shared import OwnForm, Visit, Visiting, to
from primage.contract.names import stack_label
from primage.contract.roles import Access
from primage.errors import PrimageError
from primage.projects.project import StackName, parse_stack_name

router = APIRouter()
FIELD = "setting."
"""What the names of a form's fields for settings begin with."""
APP = "/apps/{vo}/{app}"


@router.get("/apps")
def every_one(who: Visiting) -> Response:
    """What there is to start, VO by VO."""
    portal, site = who.portal, who.portal.settings.site
    offered = [(one, [app for app in portal.applications if app.serves(one.vo, site)]) for one in who.session.person.memberships]
    return who.page("apps", offered=offered)


@router.get(APP)
def one(who: Visiting, vo: str, app: str, again: Annotated[str, Query(max_length=63)] = "") -> Response:
    """Its form, as the VO's own file has the settings, or as a run had them that was started here."""
    found = _application(who, vo, app)
    before = who.portal.launches.of(who.session.person.account, again) if again else None
    settings = before.work.settings if before and before.work.setting == found.setting and before.work.settings else None
    settings = found.settings(vo, who.portal.settings.site) if settings is None else settings
    stack = _stack(who, vo, app, secrets.token_hex(3))
    return _form(who, found, vo, stack.run, texts_of(found.groups, settings), command=found.command(stack, settings))


@router.post(APP)
def check_or_start(who: Visiting, vo: str, app: str, form: OwnForm) -> Response:
    """Say what is wrong with what somebody has written; if nothing is and they want it, start it."""
    found = _application(who, vo, app)
    texts = {name.removeprefix(FIELD): text for name, text in form.items() if name.startswith(FIELD)}
    settings, unreadable = settings_of(found.groups, texts)
    run, about_run = form.get("run", ""), ""
    try:
        stack = _stack(who, vo, app, run)
    except PrimageError as error:
        about_run, stack = error.what.rpartition(": ")[2], _stack(who, vo, app, "")
    at, others = by_field(found.groups, found.root, found.problems(stack, settings))
    # What could not be read is missing to the model; that is not what is wrong.
    at |= unreadable
    if at or others or about_run:
        return _form(who, found, vo, run, texts, at=at, others=others, about_run=about_run)
    if form.get("do") != "start":
        return _form(who, found, vo, run, texts, command=found.command(stack, settings), checked=True)
    _start(who, vo, Work(stack=str(stack), setting=found.setting, settings=settings))
    return to(f"/runs/{stack_label(str(stack))}")


def _start(who: Visit, vo: str, work: Work) -> None:
    membership = who.session.person.membership(vo)
    if membership is None or membership.own is not Access.RUN:
        raise RefusedError(403, "your roles let you look at things, and not start any")
    kubeconfig = who.portal.api.kubeconfig(who.session.tokens.id_token)
    who.portal.launches.begin(who.session.person.account, work, kubeconfig)


def _application(who: Visit, vo: str, name: str) -> Application:
    """One that a VO has which somebody is in."""
    if who.session.person.membership(vo) is not None:
        for app in who.portal.applications:
            if app.name == name and app.serves(vo, who.portal.settings.site):
                return app
    raise RefusedError(404, "There is no such application of a VO that you are in")


def _stack(who: Visit, vo: str, app: str, run: str) -> StackName:
    """A run in somebody's own namespace.

    Raises:
        PrimageError: it cannot be called so.
    """
    own = StackName(site=who.portal.settings.site, app=app, vo=vo, run=run or "run", user=who.session.person.namespace)
    if parse_stack_name(str(own)) != own:
        raise PrimageError("a run is named by lower-case letters, digits and dashes")
    return own


def _form(who: Visit, app: Application, vo: str, run: str, texts: dict[str, str], **more: Any) -> Response:
    nothing = {"at": {}, "others": [], "about_run": "", "command": "", "checked": False}
    wrong = bool(more.get("at") or more.get("others") or more.get("about_run"))
    given = {**nothing, **more, "app": app, "vo": vo, "run": run, "texts": texts, "field_prefix": FIELD, "wrong": wrong}
    return who.page("app", 422 if wrong else 200, **given)
