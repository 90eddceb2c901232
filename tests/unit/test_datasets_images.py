"""Images on their way in: to the archive and their case without who somebody is, or held where nobody else looks."""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets_site import ARCHIVE_PASSWORD, Site, datasets_site
from dicom_images import captured_screen, file_of, real_image
from dicomweb_server import DicomWebServer, dicomweb_server
from pydicom import DataElement, Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from datasets.clients.archive import Archive
from datasets.clients.held import HeldImages
from datasets.clients.ocr import Tesseract
from datasets.domain import cases
from datasets.domain.arrival import to_look_at
from datasets.domain.burnt_in import Seen
from datasets.domain.deidentification import Profile
from datasets.domain.errors import RefusedError, UnreadableError
from datasets.domain.pseudonyms import Pseudonyms

SEND, HELD = "/api/vos/vo-a/images/neuroblastoma", "/api/vos/vo-a/held"
PROFILE = Profile(Pseudonyms(bytes(range(64)), "vo-a"))
SCREEN = np.zeros((64, 64))


def reads(image: Dataset) -> list[Seen]:
    """What a test has said is in the pixels, by the series' description."""
    description = str(image.get("SeriesDescription") or "")
    if description == "broken":
        raise UnreadableError("its pixels cannot be decoded here")
    return [Seen("Quixote" if description == "named" else "Depth 12", 0, (1, 2, 30, 4))]


@pytest.fixture(scope="module")
def archive() -> Iterator[DicomWebServer]:
    with dicomweb_server() as one:
        yield one


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, archive: DicomWebServer) -> Iterator[Site]:
    with datasets_site(tmp_path_factory.mktemp("datasets"), archive.url, reads) as one:
        yield one


def send(site: Site, file: bytes, *groups: str) -> Any:
    headers = {**site.headers(*(groups or ("/vo-a/clinician",))), "Content-Type": "application/dicom"}
    return site.client.post(SEND, content=file, headers=headers)


def case_of(site: Site, pseudonym: str) -> dict[str, Any]:
    path = f"/api/vos/vo-a/cases/neuroblastoma/{pseudonym}"
    return dict(site.client.get(path, headers=site.headers("/vo-a/clinician")).json())


def test_an_image_is_in_the_archive_and_in_its_case_once_however_often_it_is_sent(
    site: Site, archive: DicomWebServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = [send(site, file_of(real_image(BodyPartExamined="ABDOMEN"))) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    said = answers[0].json()
    assert said["findings"] == []
    case = case_of(site, said["pseudonym"])
    (study,) = case["studies"]
    assert (case["state"], case["revision"], study["modalities"], study["parts"]) == ("draft", 1, ["MR"], ["ABDOMEN"])
    kept = archive.kept[study["instances"][0]]
    assert (kept.PatientID, str(kept.StudyInstanceUID)) == (said["pseudonym"], study["uid"])
    assert kept.PixelData == real_image().PixelData
    assert not {"quixote", "tob-448812", "acc7731994"} & set(caplog.text.casefold().split())
    send(site, file_of(real_image("CT_small.dcm")))
    assert {one["modalities"][0] for one in case_of(site, said["pseudonym"])["studies"]} == {"CT", "MR"}


def test_an_image_whose_pixels_look_like_another_part_of_the_message_is_kept_as_one(archive: DicomWebServer) -> None:
    shelf, whole = Archive(archive.url), file_of(real_image(SOPInstanceUID="1.2.4.1"))
    shelf.store(real_image(SOPInstanceUID="1.2.4.2"))
    part = b"\r\n--%s\r\nContent-Type: application/dicom\r\n\r\n%s" % (archive.boundary.encode(), whole)
    shelf.store(real_image(SOPInstanceUID="1.2.4.3", PixelData=real_image().PixelData + part + b"\0" * (len(part) % 2)))
    assert {"1.2.4.2", "1.2.4.3"} <= set(archive.kept)
    assert "1.2.4.1" not in archive.kept


def test_each_vo_has_its_own_part_of_the_archive_or_none(site: Site, archive: DicomWebServer) -> None:
    file = file_of(real_image(SOPInstanceUID="1.2.7.1"))
    assert send(site, file).status_code == 201
    assert archive.login == f"datasets:{ARCHIVE_PASSWORD}"
    before = set(archive.kept)
    headers = {**site.headers("/vo-b/clinician"), "Content-Type": "application/dicom"}
    answer = site.client.post(SEND.replace("vo-a", "vo-b"), content=file, headers=headers)
    assert (answer.status_code, answer.json()["what"]) == (503, "this site has no archive for images of vo-b")
    assert set(archive.kept) == before


@pytest.mark.parametrize(
    ("file", "where"),
    [
        (file_of(real_image(StudyDescription="QUIXOTE ABD", SOPInstanceUID="1.2.3.1")), "StudyDescription"),
        (file_of(real_image(BurnedInAnnotation="YES", SOPInstanceUID="1.2.3.2")), "PixelData"),
        (
            file_of(captured_screen(SCREEN, SeriesDescription="named", SOPInstanceUID="1.2.3.3")),
            "PixelData, frame 0, at 1,2 (30x4)",
        ),
        (file_of(captured_screen(SCREEN, SeriesDescription="broken", SOPInstanceUID="1.2.3.4")), "PixelData"),
    ],
)
def test_what_may_name_somebody_is_held_and_seen_by_nobody_else(
    site: Site, archive: DicomWebServer, file: bytes, where: str
) -> None:
    before = set(archive.kept)
    said = send(site, file).json()
    assert [finding["where"] for finding in said["findings"]] == [where]
    assert "quixote" not in json.dumps(said).casefold()
    assert set(archive.kept) == before
    clinician = site.headers("/vo-a/clinician")
    assert said["held"] in [one["held"] for one in site.client.get(HELD, headers=clinician).json()]
    for groups in (("/vo-a/researcher",), ("/vo-a/admin",), ("/vo-b/clinician",)):
        assert site.client.get(HELD, headers=site.headers(*groups)).status_code == 403
        assert site.client.post(f"{HELD}/{said['held']}/release", headers=site.headers(*groups)).status_code == 403
    other = site.client.post(f"/api/vos/vo-b/held/{said['held']}/release", headers=site.headers("/vo-b/clinician"))
    assert other.status_code == 404
    assert site.client.post(f"{HELD}/{said['held']}/rejection", headers=clinician).status_code == 200
    assert site.client.post(f"{HELD}/{said['held']}/release", headers=clinician).status_code == 404
    assert site.client.post(f"{HELD}/..%2F..%2Fkey/release", headers=clinician).status_code in {404, 422}


def test_a_held_image_that_somebody_vouches_for_is_let_in(site: Site, archive: DicomWebServer) -> None:
    said = send(site, file_of(real_image(StudyDescription="PANZA PROTOCOL", SOPInstanceUID="1.2.3.5"))).json()
    before = set(archive.kept)
    assert site.client.post(f"{HELD}/{said['held']}/release", headers=site.headers("/vo-a/clinician")).status_code == 200
    (uid,) = set(archive.kept) - before
    assert uid in [one for study in case_of(site, said["pseudonym"])["studies"] for one in study["instances"]]
    assert site.client.get(HELD, headers=site.headers("/vo-a/clinician")).json() == []


def test_text_that_names_nobody_is_let_in(site: Site) -> None:
    assert send(site, file_of(captured_screen(SCREEN, SeriesDescription="depth", SOPInstanceUID="1.2.3.6"))).json()["held"] == ""


def test_an_archive_that_is_away_leaves_nothing_in_the_case(site: Site, archive: DicomWebServer) -> None:
    file = file_of(real_image(PatientID="AWAY-1"))
    archive.status = 503
    try:
        answer = send(site, file)
    finally:
        archive.status = 200
    assert answer.status_code == 503
    pseudonym = Pseudonyms(bytes(range(64)), "vo-a").of_patient("AWAY-1")
    assert case_of(site, pseudonym) == {"what": "there is no such case"}
    assert send(site, file).json()["pseudonym"] == pseudonym


def test_a_withdrawn_patients_images_are_not_taken_in(site: Site, archive: DicomWebServer) -> None:
    said = send(site, file_of(real_image(PatientID="GONE-1"))).json()
    path = f"/api/vos/vo-a/cases/neuroblastoma/{said['pseudonym']}/withdrawal"
    assert site.client.post(path, headers=site.headers("/vo-a/clinician")).status_code == 200
    before = set(archive.kept)
    assert send(site, file_of(real_image(PatientID="GONE-1", SOPInstanceUID="1.2.3.7"))).status_code == 409
    assert set(archive.kept) == before


@pytest.mark.parametrize(
    "file", [b"\x89PNG\r\n\x1a\n" + b"\0" * 500, b"", file_of(real_image())[:-500], file_of(real_image(PatientID=""))]
)
def test_what_is_no_image_of_somebody_is_refused_with_a_reason(site: Site, archive: DicomWebServer, file: bytes) -> None:
    before = set(archive.kept)
    answer = send(site, file)
    assert (answer.status_code, bool(answer.json()["what"])) == (422, True)
    assert set(archive.kept) == before
    assert send(site, file, "/vo-a/researcher").status_code == 403


HOLD = """
import sys
from pathlib import Path
from datasets.clients.held import HeldImages
from datasets.domain.identifiers import Finding
held = HeldImages(Path(sys.argv[1]))
for number in range(100_000):
    one = held.hold("vo-a", str(number).encode() * 2000, "dipg", "p", [Finding("x", "y")])
    print(one.name, flush=True)
"""


def test_what_was_said_to_be_held_is_there_after_a_kill(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        said = [process.stdout.readline().strip() for _ in range(20)]
        process.kill()
        said += process.stdout.read().split("\n")[:-1]
    held = HeldImages(tmp_path)
    assert {one.name for one in held.all("vo-a")} >= set(said)
    for name in said:
        found = held.one("vo-a", name)
        assert found
        assert len(found[1]) >= 2000
    held.forget("vo-a", said[0])
    assert held.one("vo-a", said[0]) is None


def bomb() -> FileDataset:
    """An image of 64 pixels across whose one run-length fragment of some megabytes is 64 times as much."""
    image = captured_screen(SCREEN)
    head = struct.pack("<16I", 1, 64, *[0] * 14)
    image.PixelData = encapsulate([head + b"\x81\0" * 1_000_000])
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = RLELossless
    return image


def test_pixels_are_decoded_within_bounds_and_not_in_this_process() -> None:
    program = str(shutil.which("true"))
    assert Tesseract(program).read(captured_screen(SCREEN)) == []
    tracemalloc.start()
    try:
        # Room for the decoder itself and little more.
        with pytest.raises(UnreadableError, match="decoded"):
            Tesseract(program, memory=200 << 20).read(bomb())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 32 << 20


@pytest.mark.parametrize("frames", ["many", "9" * 400])
def test_a_number_of_frames_that_is_none_is_held(frames: str) -> None:
    image = captured_screen(SCREEN)
    image["NumberOfFrames"] = DataElement(0x00280008, "IS", "1")
    image["NumberOfFrames"]._value = frames
    (found,) = to_look_at(PROFILE.clean(captured_screen(SCREEN)), lambda _: Tesseract(str(shutil.which("true"))).read(image))
    assert found.where == "PixelData"
    assert frames not in found.why


def test_an_image_is_told_to_come_again_while_others_are_looked_at_and_the_service_is_healthy(
    tmp_path: Path, archive: DicomWebServer
) -> None:
    looks, goes_on = threading.Semaphore(0), threading.Event()

    def waits(_: Dataset) -> list[Seen]:
        looks.release()
        assert goes_on.wait(100)
        return []

    with datasets_site(tmp_path, archive.url, waits) as one, ThreadPoolExecutor() as threads:
        try:
            sent = [
                threads.submit(send, one, file_of(captured_screen(SCREEN, SOPInstanceUID=f"1.2.5.{number}"))) for number in (1, 2)
            ]
            assert all(looks.acquire(timeout=100) for _ in sent)
            answer = send(one, file_of(captured_screen(SCREEN, SOPInstanceUID="1.2.5.3")))
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
            assert one.client.get("/health").status_code == 200
        finally:
            goes_on.set()
        assert [each.result().status_code for each in sent] == [201, 201]


def test_held_images_of_a_vo_have_so_much_room_and_a_volume_that_is_none_is_said(tmp_path: Path) -> None:
    held = HeldImages(tmp_path / "held", most=100)
    first = held.hold("vo-a", b"1" * 60, "dipg", "p", [])
    assert held.hold("vo-a", b"1" * 60, "dipg", "p", []) == first
    with pytest.raises(RefusedError, match="no room"):
        held.hold("vo-a", b"2" * 60, "dipg", "p", [])
    held.hold("vo-b", b"2" * 60, "dipg", "p", [])
    held.forget("vo-a", first.name)
    held.hold("vo-a", b"2" * 60, "dipg", "p", [])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RefusedError, match="volume of held images"):
        HeldImages(tmp_path / "file").hold("vo-a", b"3", "dipg", "p", [])


def test_a_study_of_more_parts_than_a_body_has_is_refused_before_the_archive_has_it(
    site: Site, archive: DicomWebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "MOST_PARTS", 2)
    sent = [
        send(site, file_of(real_image(PatientID="PARTS-1", BodyPartExamined=part, SOPInstanceUID=f"1.2.6.{number}")))
        for number, part in enumerate(("HEAD", "NECK", "CHEST"))
    ]
    assert [answer.status_code for answer in sent] == [201, 201, 422]
    (study,) = case_of(site, sent[0].json()["pseudonym"])["studies"]
    assert study["parts"] == ["HEAD", "NECK"]
    assert Pseudonyms(bytes(range(64)), "vo-a").of_uid("1.2.6.2") not in archive.kept


def test_pixels_that_cannot_be_looked_through_are_held() -> None:
    cleaned = PROFILE.clean(captured_screen(SCREEN))
    (found,) = to_look_at(cleaned, Tesseract("/nowhere/tesseract").read)
    assert "cannot be looked through" in found.why
