"""Cases in a browser: found, entered, changed. Everything works without scripts."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from datasets.domain.answers import Pair, answered
from datasets.domain.cases import Case, State
from datasets.domain.errors import RefusedError
from datasets.domain.forms import Form, Values, Wrong
from datasets.domain.people import Act
from datasets.domain.searches import search_of
from datasets.pages.interface import started, visible
from datasets.pages.shared import Asker, Disease, Given, Pseudonym, Sent, Service, Vo, case_of, done, permit, show

BLANK_LINES = 2
"""Of a repeated section, below those that are filled in; saving a draft brings more."""
OWN = ("identifier", "issuer", "revision", "then")
"""Names in a form that are no field's: those have a dot."""
COMPLETE = "complete"

router = APIRouter(include_in_schema=False)


@router.get("/")
def start(request: Request, service: Given, who: Asker) -> HTMLResponse:
    """What somebody can go to."""
    places = [
        (vo, disease) for vo in sorted(service.settings.vos) if who.may(vo, Act.READ_CASES) for disease in service.forms.diseases
    ]
    return show(request, "start", who=who, places=places, forms=service.forms)


@router.get("/vos/{vo}/{disease}")
def cases(request: Request, service: Given, who: Asker, vo: Vo, disease: Disease) -> HTMLResponse:
    """Cases that a search finds, with how many there are beside each filter."""
    permit(who, vo, Act.READ_CASES, f"{disease}?{request.url.query[:500]}")
    form, words = service.forms.newest(disease), [pair for pair in request.query_params.multi_items() if pair[1]]
    writes = who.may(vo, Act.WRITE_CASES)
    search = search_of(vo, form, words, drafts=writes)
    page = service.records.search(search)
    return show(
        request,
        "cases",
        who=who,
        vo=vo,
        form=form,
        page=page,
        counts=service.records.counts(search),
        asked=_by_name(words),
        writes=writes,
        after=urlencode([pair for pair in words if pair[0] != "after"] + [("after", page.after)]),
    )


@router.get("/vos/{vo}/{disease}/new")
def new(request: Request, service: Given, who: Asker, vo: Vo, disease: Disease) -> HTMLResponse:
    """An empty form."""
    permit(who, vo, Act.WRITE_CASES, f"{disease}, empty form")
    return _form(request, who, vo, service.forms.newest(disease), None, {}, [])


@router.post("/vos/{vo}/{disease}/new")
def enter(request: Request, service: Given, who: Asker, vo: Vo, disease: Disease, pairs: Sent) -> Response:
    """Enter a case, or say what is wrong at its field."""
    permit(who, vo, Act.WRITE_CASES, disease)
    own, rest = _own(pairs)
    form = service.forms.newest(disease)
    answers = answered(form, rest)
    try:
        case = started(service, vo, disease, own.get("identifier", ""), own.get("issuer", ""))
    except RefusedError as refusal:
        wrong = [Wrong("identifier", str(refusal)), *_wrong(form, answers, own)]
        return _form(request, who, vo, form, None, answers, wrong, 422)
    return _kept(request, service, who, case, form, answers, own)


@router.get("/vos/{vo}/{disease}/{pseudonym}")
def case(request: Request, service: Given, who: Asker, vo: Vo, disease: Disease, pseudonym: Pseudonym) -> HTMLResponse:
    """A case: as a form for those who enter cases, and to read for all others."""
    permit(who, vo, Act.READ_CASES, f"{disease}/{pseudonym}")
    found = visible(who, case_of(service, vo, disease, pseudonym))
    read = service.forms.read(disease, found.version, found.answers)
    form = service.forms.newest(disease)
    if who.may(vo, Act.WRITE_CASES):
        return _form(request, who, vo, form, found, read, form.wrong(read) if found.state is State.DRAFT and read else [])
    return show(request, "case", who=who, vo=vo, form=form, case=found, answers=read)


@router.post("/vos/{vo}/{disease}/{pseudonym}")
def change(request: Request, service: Given, who: Asker, vo: Vo, disease: Disease, pseudonym: Pseudonym, pairs: Sent) -> Response:
    """Change a case, or say what is wrong at its field."""
    permit(who, vo, Act.WRITE_CASES, f"{disease}/{pseudonym}")
    own, rest = _own(pairs)
    kept, form = visible(who, case_of(service, vo, disease, pseudonym)), service.forms.newest(disease)
    if own.get("revision") != str(kept.revision):
        raise RefusedError(409, "somebody else has changed this case meanwhile: open it again and repeat your change")
    return _kept(request, service, who, kept, form, answered(form, rest), own)


def _kept(request: Request, service: Service, who: Asker, case: Case, form: Form, answers: Values, own: dict[str, str]) -> Response:
    wrong = _wrong(form, answers, own)
    if wrong:
        return _form(request, who, case.vo, form, case if case.revision else None, answers, wrong, 422)
    kept = service.records.save(case.with_answers(form, answers, complete=own.get("then") == COMPLETE))
    done(who, kept.vo, Act.WRITE_CASES, f"{kept.disease}/{kept.pseudonym}", state=kept.state.value, revision=kept.revision)
    return RedirectResponse(f"/vos/{kept.vo}/{kept.disease}/{kept.pseudonym}", 303)


def _wrong(form: Form, answers: Values, own: dict[str, str]) -> list[Wrong]:
    return form.wrong(answers) if own.get("then") == COMPLETE else form.wrong_in_draft(answers)


def _own(pairs: list[Pair]) -> tuple[dict[str, str], list[Pair]]:
    return {name: text for name, text in pairs if name in OWN}, [pair for pair in pairs if pair[0] not in OWN]


def _by_name(pairs: list[Pair]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        found.setdefault(name, []).append(text)
    return found


def _form(
    request: Request,
    who: Asker,
    vo: str,
    form: Form,
    case: Case | None,
    answers: Values,
    wrong: list[Wrong],
    status: int = 200,
) -> HTMLResponse:
    said: dict[str, list[str]] = {}
    for one in wrong:
        said.setdefault(one.path, []).append(one.says)
    titles = {**{path: one.about.title for path, one in form.fields.items()}, "identifier": "Identifier in your hospital"}
    summary = [(one, titles.get(_plain(one.path), "The form")) for one in wrong]
    return show(
        request, "form", status, who=who, vo=vo, form=form, case=case, parts=_parts(form, answers), said=said, summary=summary
    )


def _plain(path: str) -> str:
    return ".".join(part for part in path.split(".") if not part.isdigit())


def _parts(form: Form, answers: Values) -> list[dict[str, Any]]:
    """Sections as they are shown: one part for each, and for one that is repeated one for each line and some blank ones."""
    parts = []
    for section in form.sections:
        given = answers.get(section.name)
        if not section.most:
            parts.append({"section": section, "prefix": section.name, "title": section.title, "given": given or {}})
            continue
        lines = given if isinstance(given, list) else []
        for number in range(min(len(lines) + BLANK_LINES, section.most)):
            line = lines[number] if number < len(lines) else {}
            title = f"{section.title}, {number + 1}"
            parts.append({"section": section, "prefix": f"{section.name}.{number}", "title": title, "given": line})
    return parts
