"""What all pages work with: who asks, whether they may, and what is written down of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from datasets.clients.archive import Archive
from datasets.clients.held import HeldImages
from datasets.clients.ocr import Tesseract
from datasets.clients.provider import Provider
from datasets.clients.records import Records
from datasets.domain.answers import MOST_PAIRS, Pair, label, texts
from datasets.domain.arrival import Reads
from datasets.domain.cases import Case
from datasets.domain.deidentification import Profile
from datasets.domain.errors import LoginRefusedError, RefusedError
from datasets.domain.people import Act, Person, person_of
from datasets.domain.pseudonyms import Pseudonyms
from datasets.domain.versions import Forms
from datasets.log import audit
from datasets.settings import DatasetsSettings

LOOKED_AT = 2
"""Images that are looked at at a time: each takes a process, and memory of several times its own size."""
HERE = Path(__file__).parent.parent
Vo = Annotated[str, InPath(pattern="^[a-z0-9][a-z0-9.-]{0,62}$", description="A virtual organisation.")]
Disease = Annotated[str, InPath(pattern="^[a-z][a-z0-9-]{0,30}$", description="What a form is of.")]
Name = Annotated[str, InPath(pattern="^[a-z][a-z0-9-]{0,39}$", description="Of a dataset.")]
Version = Annotated[int, InPath(ge=1, le=9999, description="Of a form or dataset.")]
Pseudonym = Annotated[str, InPath(pattern="^p[a-z2-7]{16}$", description="Whose case it is.")]


def _templates() -> Environment:
    """Every value is escaped, and one that was forgotten is an error."""
    made = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.globals.update(label=label, texts=texts)
    return made


@dataclass(frozen=True)
class Service:
    """What pages work with."""

    settings: DatasetsSettings
    forms: Forms
    records: Records
    provider: Provider
    key: bytes = field(repr=False)
    held: HeldImages
    archives: Mapping[str, Archive] = field(default_factory=dict)
    reads: Reads = field(default_factory=lambda: Tesseract().read)
    looking: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(LOOKED_AT))
    templates: Environment = field(default_factory=_templates)

    def profile(self, vo: str) -> Profile:
        """What takes away from a VO's images who somebody is."""
        return Profile(self.pseudonyms(vo), self.settings.retain)

    def pseudonyms(self, vo: str) -> Pseudonyms:
        """Those of a VO."""
        return Pseudonyms(self.key, vo)


def service_of(request: Request) -> Service:
    """What the application was made with."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


Given = Annotated[Service, Depends(service_of)]


def asker(request: Request, service: Given) -> Person:
    """Who asks.

    Raises:
        LoginRefusedError: no token of the identity provider says so.
    """
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise LoginRefusedError("it has no token: log in, or send one as `Authorization: Bearer`")
    return person_of(service.provider.claims(token.strip()), service.settings.vos)


Asker = Annotated[Person, Depends(asker)]


def permit(who: Person, vo: str, act: Act, what: str) -> None:
    """Let somebody do something, or not; either is written down before anything is done.

    Raises:
        RefusedError: their roles do not let them.
    """
    allowed = who.may(vo, act)
    audit(identity=who.identity, account=who.account, vo=vo, act=act.value, what=what, allowed=allowed)
    if not allowed:
        # The same whether or not there is such a VO, case or dataset.
        raise RefusedError(403, f"your roles in {vo} do not let you {act.value}: ask an administrator of the VO for one that does")


def done(who: Person, vo: str, act: Act, what: str, **more: Any) -> None:
    """Write down that something was changed."""
    audit(identity=who.identity, account=who.account, vo=vo, act=act.value, what=what, done=True, **more)


def case_of(service: Service, vo: str, disease: str, pseudonym: str) -> Case:
    """A case.

    Raises:
        RefusedError: there is none.
    """
    found = service.records.case(vo, disease, pseudonym)
    if found is None:
        raise RefusedError(404, "there is no such case")
    return found


async def sent(request: Request) -> list[Pair]:
    """What a browser's form says.

    Raises:
        RefusedError: it is none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise RefusedError(415, "pages take plain forms only")
    try:
        return parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=MOST_PAIRS)
    except ValueError:
        raise RefusedError(422, "this is not a form") from None


Sent = Annotated[list[Pair], Depends(sent)]


def show(request: Request, template: str, status: int = 200, **given: Any) -> HTMLResponse:
    """A page."""
    return HTMLResponse(service_of(request).templates.get_template(f"{template}.html").render(**given), status)
