"""Images as they arrive: let in without who somebody is, or held until somebody who sends images has looked at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from pydantic import BaseModel
from pydicom import FileDataset

from datasets.clients.held import Held
from datasets.domain.arrival import to_look_at
from datasets.domain.cases import Case, State, Study
from datasets.domain.deidentification import study_of
from datasets.domain.dicom_bytes import read_image, written
from datasets.domain.errors import ArchiveAwayError, RefusedError
from datasets.domain.people import Act
from datasets.guard import IMAGE_TYPE
from datasets.pages.interface import REFUSED
from datasets.pages.shared import Asker, Disease, Given, Service, Vo, done, permit

TRIES = 5
"""To write into a case that others write into at the same time, as several images of a study do."""
HeldName = Annotated[str, InPath(pattern="^[0-9a-f]{64}$", description="Of a held image: its file's SHA-256.")]
router = APIRouter(prefix="/api/vos/{vo}", responses=REFUSED)


class ShownFinding(BaseModel):
    """What has to be looked at."""

    where: str
    why: str


class Arrived(BaseModel):
    """What became of an image."""

    pseudonym: str
    held: str = ""
    findings: list[ShownFinding] = []


async def sent_image(request: Request) -> bytes:
    """The image's file.

    Raises:
        RefusedError: it is not sent as one.
    """
    if request.headers.get("content-type") != IMAGE_TYPE:
        raise RefusedError(415, f"send the file itself, as {IMAGE_TYPE}")
    return await request.body()


@router.post("/images/{disease}", status_code=201)
def send(service: Given, who: Asker, vo: Vo, disease: Disease, file: Annotated[bytes, Depends(sent_image)]) -> Arrived:
    """Send an image; it is in the archive and in its case, or held, when this is answered. Sent again it is not there twice."""
    permit(who, vo, Act.SEND_IMAGES, f"image of {disease}")
    service.forms.newest(disease)
    with _turn(service):
        cleaned = service.profile(vo).clean(read_image(file))
        found = to_look_at(cleaned, service.reads)
        if found:
            held = service.held.hold(vo, written(cleaned.image), disease, cleaned.pseudonym, found)
            done(who, vo, Act.SEND_IMAGES, f"{disease}/{cleaned.pseudonym}", held=held.name)
            return _shown(held)
        _let_in(service, vo, disease, cleaned.pseudonym, cleaned.image)
    done(who, vo, Act.SEND_IMAGES, f"{disease}/{cleaned.pseudonym}", instance=str(cleaned.image.SOPInstanceUID))
    return Arrived(pseudonym=cleaned.pseudonym)


@router.get("/held")
def held(service: Given, who: Asker, vo: Vo) -> list[Arrived]:
    """Images that are held, with what to look at."""
    permit(who, vo, Act.SEND_IMAGES, "held images")
    return [_shown(one) for one in service.held.all(vo)]


@router.post("/held/{name}/release")
def release(service: Given, who: Asker, vo: Vo, name: HeldName) -> Arrived:
    """Let a held image in as it is: somebody has looked and vouches that it names nobody."""
    permit(who, vo, Act.SEND_IMAGES, f"held image {name}")
    with _turn(service):
        one, file = _one(service, vo, name)
        _let_in(service, vo, one.disease, one.pseudonym, read_image(file))
    service.held.forget(vo, name)
    done(who, vo, Act.SEND_IMAGES, f"held image {name}", released=True)
    return Arrived(pseudonym=one.pseudonym)


@router.post("/held/{name}/rejection")
def reject(service: Given, who: Asker, vo: Vo, name: HeldName) -> Arrived:
    """Take a held image away for good; without what names somebody it may be sent again."""
    permit(who, vo, Act.SEND_IMAGES, f"held image {name}")
    one, _ = _one(service, vo, name)
    service.held.forget(vo, name)
    done(who, vo, Act.SEND_IMAGES, f"held image {name}", rejected=True)
    return Arrived(pseudonym=one.pseudonym)


@contextmanager
def _turn(service: Service) -> Iterator[None]:
    """One of few at a time; others are told to come again rather than kept waiting in a thread that pages need."""
    if not service.looking.acquire(blocking=False):
        raise RefusedError(503, "other images are being looked at: send this again in half a minute")
    try:
        yield
    finally:
        service.looking.release()


def _one(service: Service, vo: str, name: str) -> tuple[Held, bytes]:
    found = service.held.one(vo, name)
    if found is None:
        raise RefusedError(404, "there is no such image held")
    return found


def _let_in(service: Service, vo: str, disease: str, pseudonym: str, image: FileDataset) -> None:
    """Into the archive first: what a case names is there."""
    if (archive := service.archives.get(vo)) is None:
        raise ArchiveAwayError(f"this site has no archive for images of {vo}")
    kept = service.records.case(vo, disease, pseudonym)
    _require_not_withdrawn(kept)
    if kept:
        # What the case has no room for is refused before the archive has it.
        kept.with_study(study_of(image))
    archive.store(image)
    for left in reversed(range(TRIES)):
        try:
            _name_it(service, vo, disease, pseudonym, study_of(image))
        except RefusedError:
            if not left:
                raise
        else:
            return


def _name_it(service: Service, vo: str, disease: str, pseudonym: str, study: Study) -> None:
    kept = service.records.case(vo, disease, pseudonym)
    _require_not_withdrawn(kept)
    # Images may come before a clinician has entered anything.
    case = kept or Case(vo, pseudonym, disease, service.forms.newest(disease).version, State.DRAFT, {})
    if (with_it := case.with_study(study)) != case:
        service.records.save(with_it)


def _require_not_withdrawn(case: Case | None) -> None:
    if case and case.state is State.WITHDRAWN:
        raise RefusedError(409, "this case is withdrawn: no image of it is taken in any more")


def _shown(held: Held) -> Arrived:
    findings = [ShownFinding(where=one.where, why=one.why) for one in held.findings]
    return Arrived(pseudonym=held.pseudonym, held=held.name, findings=findings)
