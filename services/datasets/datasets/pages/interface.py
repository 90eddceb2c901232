"""The service for programs: JSON, described by OpenAPI."""

from __future__ import annotations

import gzip
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from datasets.clients.records import Page
from datasets.domain.cases import Case, State
from datasets.domain.datasets import Dataset, Difference, difference, frozen, withdrawn_from, written
from datasets.domain.errors import RefusedError
from datasets.domain.people import Act, Person
from datasets.domain.searches import LARGEST_PAGE, Search, search_of
from datasets.pages.shared import Asker, Disease, Given, Name, Pseudonym, Service, Version, Vo, case_of, done, permit

MOST_NAMED = 20_000


class Problem(BaseModel):
    """Why something was refused."""

    what: str


class Body(BaseModel):
    """What is sent, of which every word is known."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Entered(Body):
    """Answers to a form."""

    answers: dict[str, Any]
    complete: bool = Field(description="Whether nothing is to come; a draft may lack answers.")


class NewCase(Entered):
    """A case that is entered."""

    identifier: str = Field(min_length=1, max_length=256, description="The hospital's, from which the pseudonym is made; not kept.")
    issuer: str = Field(default="", max_length=256, description="Who gave it, if its images say so (IssuerOfPatientID); not kept.")


class ChangedCase(Entered):
    """A case that is changed."""

    revision: int = Field(ge=1, le=2**31, description="The one that was read.")


class Chosen(Body):
    """A dataset to be frozen: of named cases, or of all that a search finds."""

    disease: str = Field(pattern="^[a-z][a-z0-9-]{0,30}$")
    says: str = Field(min_length=1, max_length=2000, description="What it is for.")
    pseudonyms: list[Annotated[str, Field(pattern="^p[a-z2-7]{16}$")]] = Field(default=[], max_length=MOST_NAMED)
    search: dict[str, list[str]] | None = Field(default=None, description="Words of a search, as in an address; {}: all cases.")
    variables: list[Annotated[str, Field(max_length=100)]] = Field(default=[], max_length=100)


class ShownStudy(BaseModel):
    """Images of one visit."""

    uid: str
    modalities: list[str]
    parts: list[str]
    day: str | None
    instances: list[str]
    quality: str


class ShownCase(BaseModel):
    """A case."""

    pseudonym: str
    disease: str
    version: int
    state: State
    revision: int
    answers: dict[str, Any]
    studies: list[ShownStudy]


class ShownPage(BaseModel):
    """Some of the cases that were looked for."""

    cases: list[ShownCase]
    after: str = Field(description="Give it as `after` for the next page; empty on the last.")
    total: int


class ShownDataset(BaseModel):
    """A dataset, without what is in it."""

    name: str
    version: int
    digest: str
    identifier: str


REFUSED: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (401, 403, 404, 409, 413, 415, 422, 503)}
router = APIRouter(prefix="/api", responses=REFUSED)


@router.get("/forms")
def forms(service: Given, _: Asker) -> dict[str, int]:
    """Each disease that has a form, and its newest version."""
    return {disease: service.forms.newest(disease).version for disease in service.forms.diseases}


@router.get("/forms/{disease}/{version}")
def form(service: Given, _: Asker, disease: Disease, version: Version) -> dict[str, Any]:
    """A form, as a JSON Schema."""
    return dict(service.forms.version(disease, version).schema)


@router.get("/vos/{vo}/cases/{disease}")
def cases(request: Request, service: Given, who: Asker, vo: Vo, disease: Disease) -> ShownPage:
    """Cases that a search finds: `?staging.stage=M&diagnosis.age.to=547&modality=MR&most=50&after=…`."""
    permit(who, vo, Act.READ_CASES, f"{disease}?{request.url.query[:500]}")
    page = service.records.search(_search(service, who, vo, disease, request.query_params.multi_items()))
    return shown_page(page)


@router.get("/vos/{vo}/counts/{disease}")
def counts(request: Request, service: Given, who: Asker, vo: Vo, disease: Disease) -> dict[str, dict[str, int]]:
    """How many cases have which answer to which field, of those that the same search finds."""
    permit(who, vo, Act.READ_CASES, f"counts {disease}?{request.url.query[:500]}")
    return service.records.counts(_search(service, who, vo, disease, request.query_params.multi_items()))


@router.post("/vos/{vo}/cases/{disease}", status_code=201)
def enter(service: Given, who: Asker, vo: Vo, disease: Disease, new: NewCase) -> ShownCase:
    """Enter a case."""
    permit(who, vo, Act.WRITE_CASES, disease)
    form = service.forms.newest(disease)
    case = started(service, vo, disease, new.identifier, new.issuer).with_answers(form, new.answers, complete=new.complete)
    return shown(_saved(service, who, case))


@router.get("/vos/{vo}/cases/{disease}/{pseudonym}")
def case(service: Given, who: Asker, vo: Vo, disease: Disease, pseudonym: Pseudonym) -> ShownCase:
    """One case. Drafts are shown to those who enter cases."""
    permit(who, vo, Act.READ_CASES, f"{disease}/{pseudonym}")
    return shown(visible(who, case_of(service, vo, disease, pseudonym)))


@router.put("/vos/{vo}/cases/{disease}/{pseudonym}")
def change(service: Given, who: Asker, vo: Vo, disease: Disease, pseudonym: Pseudonym, changed: ChangedCase) -> ShownCase:
    """Change a case that nobody else has changed since it was read."""
    permit(who, vo, Act.WRITE_CASES, f"{disease}/{pseudonym}")
    kept = case_of(service, vo, disease, pseudonym)
    if kept.revision != changed.revision:
        raise RefusedError(409, "somebody else has changed this case meanwhile: open it again and repeat your change")
    case = kept.with_answers(service.forms.newest(disease), changed.answers, complete=changed.complete)
    return shown(_saved(service, who, case))


@router.post("/vos/{vo}/cases/{disease}/{pseudonym}/withdrawal")
def withdraw(service: Given, who: Asker, vo: Vo, disease: Disease, pseudonym: Pseudonym) -> ShownCase:
    """End a case because consent has ended: later datasets do not have it, and earlier ones say that it is withdrawn."""
    permit(who, vo, Act.WITHDRAW, f"{disease}/{pseudonym}")
    kept = service.records.save(case_of(service, vo, disease, pseudonym).withdrawn())
    done(who, vo, Act.WITHDRAW, f"{disease}/{pseudonym}", revision=kept.revision)
    return shown(kept)


@router.get("/vos/{vo}/datasets")
def datasets(service: Given, who: Asker, vo: Vo) -> list[ShownDataset]:
    """All datasets of a VO."""
    permit(who, vo, Act.LIST_DATASETS, "datasets")
    return [
        ShownDataset(
            name=name, version=version, digest=digest, identifier=f"urn:primage:dataset:{vo}:{name}:{version}:sha256-{digest}"
        )
        for name, version, digest in service.records.datasets(vo)
    ]


@router.post("/vos/{vo}/datasets/{name}", status_code=201)
def freeze(service: Given, who: Asker, vo: Vo, name: Name, chosen: Chosen) -> ShownDataset:
    """Freeze the next version of a dataset."""
    permit(who, vo, Act.FREEZE, f"dataset {name}")
    versions = [version for there, version, _ in service.records.datasets(vo) if there == name]
    before = _dataset(service, vo, name, max(versions)) if versions else None
    dataset = frozen(vo, name, chosen.says, _chosen(service, who, vo, chosen), chosen.variables, service.forms, before)
    service.records.freeze(dataset)
    done(who, vo, Act.FREEZE, f"dataset {name}/{dataset.version}", identifier=dataset.identifier)
    return ShownDataset(name=name, version=dataset.version, digest=dataset.digest, identifier=dataset.identifier)


@router.get("/vos/{vo}/datasets/{name}/{version}", response_class=Response, responses={200: {"content": {"application/json": {}}}})
def dataset(service: Given, who: Asker, vo: Vo, name: Name, version: Version) -> Response:
    """The very document that the digest is of."""
    permit(who, vo, Act.READ_DATASETS, f"dataset {name}/{version}")
    return Response(written(_dataset(service, vo, name, version)), media_type="application/json")


@router.get("/vos/{vo}/datasets/{name}/{version}/variables", response_class=Response)
def variables(service: Given, who: Asker, vo: Vo, name: Name, version: Version) -> Response:
    """The clinical variables by pseudonym, as JSON in gzip."""
    permit(who, vo, Act.READ_DATASETS, f"variables of dataset {name}/{version}")
    said = {entry.pseudonym: entry.variables for entry in _dataset(service, vo, name, version).entries}
    packed = gzip.compress(json.dumps(said, sort_keys=True).encode(), mtime=0)
    return Response(packed, media_type="application/json", headers={"Content-Encoding": "gzip"})


@router.get("/vos/{vo}/datasets/{name}/{version}/withdrawn")
def withdrawn(service: Given, who: Asker, vo: Vo, name: Name, version: Version) -> list[str]:
    """Pseudonyms of the dataset's cases whose consent has ended since: leave them out."""
    permit(who, vo, Act.READ_DATASETS, f"withdrawn of dataset {name}/{version}")
    found = _dataset(service, vo, name, version)
    return list(withdrawn_from(found, service.records.withdrawn(vo, found.disease)))


@router.get("/vos/{vo}/datasets/{name}/{version}/difference")
def changes(
    service: Given, who: Asker, vo: Vo, name: Name, version: Version, since: Annotated[int, Query(ge=1, le=9999)]
) -> Difference:
    """What a version has that an earlier one has not, and the other way round."""
    permit(who, vo, Act.READ_DATASETS, f"difference of dataset {name}/{since}..{version}")
    old, new = (_dataset(service, vo, name, number) for number in (since, version))
    return difference(old, new, service.records.withdrawn(vo, new.disease))


def started(service: Service, vo: str, disease: str, identifier: str, issuer: str) -> Case:
    """A case of which nothing is kept yet.

    Raises:
        RefusedError: the identifier is none.
    """
    try:
        pseudonym = service.pseudonyms(vo).of_patient(identifier, issuer)
    except ValueError as error:
        raise RefusedError(422, str(error)) from None
    return Case(vo, pseudonym, disease, service.forms.newest(disease).version, State.DRAFT, {})


def visible(who: Person, case: Case) -> Case:
    """A case that somebody may see as it is.

    Raises:
        RefusedError: it is a draft, which those who enter cases see, or withdrawn.
    """
    if case.state is State.WITHDRAWN or (case.state is State.DRAFT and not who.may(case.vo, Act.WRITE_CASES)):
        raise RefusedError(404, "there is no such case")
    return case


def shown(case: Case) -> ShownCase:
    """A case, for a program."""
    studies = [
        ShownStudy(
            uid=one.uid,
            modalities=list(one.modalities),
            parts=list(one.parts),
            day=one.day.isoformat() if one.day else None,
            instances=list(one.instances),
            quality=one.quality.value,
        )
        for one in case.studies
    ]
    return ShownCase(
        pseudonym=case.pseudonym,
        disease=case.disease,
        version=case.version,
        state=case.state,
        revision=case.revision,
        answers=case.answers,
        studies=studies,
    )


def shown_page(page: Page) -> ShownPage:
    """A page, for a program."""
    return ShownPage(cases=[shown(one) for one in page.cases], after=page.after, total=page.total)


def _search(service: Service, who: Person, vo: str, disease: str, words: list[tuple[str, str]]) -> Search:
    return search_of(vo, service.forms.newest(disease), words, drafts=who.may(vo, Act.WRITE_CASES))


def _saved(service: Service, who: Person, case: Case) -> Case:
    kept = service.records.save(case)
    done(who, kept.vo, Act.WRITE_CASES, f"{kept.disease}/{kept.pseudonym}", state=kept.state.value, revision=kept.revision)
    return kept


def _chosen(service: Service, who: Person, vo: str, chosen: Chosen) -> list[Case]:
    if bool(chosen.pseudonyms) == (chosen.search is not None):
        raise RefusedError(422, "name the cases or give a search, one of both")
    if chosen.pseudonyms:
        return [visible(who, case_of(service, vo, chosen.disease, one)) for one in chosen.pseudonyms]
    words = [
        (name, text) for name, texts in (chosen.search or {}).items() if name not in {"after", "most", "state"} for text in texts
    ]
    found: list[Case] = []
    after = ""
    while True:
        page = service.records.search(
            search_of(vo, service.forms.newest(chosen.disease), [*words, ("most", str(LARGEST_PAGE)), ("after", after)])
        )
        found += page.cases
        if page.total > MOST_NAMED or not (after := page.after):
            return found


def _dataset(service: Service, vo: str, name: str, version: int) -> Dataset:
    found = service.records.dataset(vo, name, version)
    if found is None:
        raise RefusedError(404, "there is no such dataset")
    return found
