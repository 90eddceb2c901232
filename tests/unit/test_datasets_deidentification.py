"""Images as they arrive: read within bounds or refused, and without who somebody is, at every level of the header."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

import pytest
from dicom_images import file_of, real_image
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from datasets.domain import burnt_in, dicom_bytes
from datasets.domain.burnt_in import Seen, may_have_text
from datasets.domain.deidentification import Profile, Retain
from datasets.domain.dicom_bytes import read_image, written
from datasets.domain.errors import RefusedImageError
from datasets.domain.identifiers import walked
from datasets.domain.pseudonyms import Pseudonyms

# What pydicom prints of what is broken on purpose here; the service itself silences it.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
NAMES = Pseudonyms(b"a key of thirty-two bytes at least", "vo-a")
PROFILE = Profile(NAMES)
SECRETS = ("quixote", "dulcinea", "448812", "7731994", "panza", "sancho", "barataria", "991177", "20110203")


def raw(data: bytes) -> str:
    return data.decode("latin-1").lower()


@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm", "MR_small_RLE.dcm", "rtdose_1frame.dcm", "examples_palette.dcm"])
def test_nothing_of_the_person_is_left_in_the_file(name: str) -> None:
    cleaned = PROFILE.clean(read_image(file_of(real_image(name))))
    file = written(cleaned.image)
    assert [secret for secret in SECRETS if secret in raw(file)] == []
    read = dcmread(BytesIO(file))
    assert (str(read.PatientName), read.PatientID) == (cleaned.pseudonym, cleaned.pseudonym)
    assert read.PatientIdentityRemoved == "YES"
    assert [item.CodeValue for item in read.DeidentificationMethodCodeSequence] == ["113100", "113107", "113105", "113108"]
    assert not any(element.tag.is_private for _, element in walked(read))
    assert read.PixelData == real_image(name).PixelData
    assert cleaned.findings == ()


def test_uids_and_dates_stand_for_others_alike_wherever_they_are() -> None:
    image = real_image()
    study, instance = image.StudyInstanceUID, image.SOPInstanceUID
    first = PROFILE.clean(image).image
    second = PROFILE.clean(real_image(StudyDate="20190514", AcquisitionDateTime="20190514101112.5")).image
    assert first.StudyInstanceUID == second.StudyInstanceUID == NAMES.of_uid(study) != study
    nested = first.ReferencedImageSequence[0]
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID == NAMES.of_uid(instance)
    assert nested.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert nested.ScheduledProcedureStepStartDate == first.StudyDate
    assert first.SOPClassUID == image.SOPClassUID
    days = [datetime.strptime(one.StudyDate, "%Y%m%d") for one in (first, second)]  # noqa: DTZ007
    assert (days[1] - days[0]).days == 10
    assert second.AcquisitionDateTime == f"{second.StudyDate}101112.5"
    assert "20190504" not in raw(written(first))
    other = Profile(Pseudonyms(b"a key of thirty-two bytes at least", "vo-b")).clean(real_image()).image
    assert other.StudyInstanceUID != first.StudyInstanceUID
    assert other.PatientID != first.PatientID


def test_options_keep_what_they_say_and_no_more() -> None:
    kept = PROFILE.clean(real_image(StudyDescription="ABDOMEN T2", Manufacturer="ACME", DeviceSerialNumber="12")).image
    assert (kept.PatientAge, kept.StudyDescription) == ("008Y", "ABDOMEN T2")
    assert kept.get("DeviceSerialNumber") in (None, "", "removed")
    bare = Profile(NAMES, frozenset()).clean(real_image(StudyDescription="ABDOMEN T2")).image
    assert (bare.get("StudyDescription"), bare.get("PatientAge")) == (None, None)
    device = Profile(NAMES, frozenset({Retain.DEVICE})).clean(real_image(DeviceSerialNumber="12")).image
    assert device.DeviceSerialNumber == "12"


PLACES = [
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "SequenceName",
    "ScanOptions",
    "ContentLabel",
    "PatientComments",
    "BodyPartExamined",
]


@given(
    keyword=st.sampled_from(PLACES),
    secret=st.sampled_from(["QUIXOTE", "Dulcinea", "tob 448812", "ACC7731994", "2011-02-03", "03.02.2011", "Panza", "QUÍXOTE"]),
    before=st.sampled_from(["", "T2 ", "for "]),
    depth=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_header_that_says_who_it_is_is_cleaned_or_held_with_the_tag_named(
    keyword: str, secret: str, before: str, depth: int
) -> None:
    image = real_image()
    place: Dataset = image
    for _ in range(depth):
        below = Dataset()
        # A sequence that the profile has no word on.
        place.ViewCodeSequence = Sequence([below])
        place = below
    setattr(place, keyword, f"{before}{secret}"[:64])
    cleaned = PROFILE.clean(read_image(file_of(image)))
    left = [
        where
        for where, element in walked(cleaned.image)
        if element.keyword == keyword and element.value and secret in str(element.value)
    ]
    assert {finding.where for finding in cleaned.findings} == set(left)
    # The finding itself tells nobody's name.
    assert not any(part.casefold() in str(cleaned.findings).casefold() for part in secret.split() if len(part) > 4)


def test_an_image_that_says_text_is_burnt_in_is_held() -> None:
    assert [one.where for one in PROFILE.clean(real_image(BurnedInAnnotation="YES")).findings] == ["PixelData"]


def test_an_image_of_nobody_is_refused() -> None:
    with pytest.raises(RefusedImageError, match="no PatientID"):
        PROFILE.clean(real_image(PatientID=""))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY"]}, False),
        ({"Modality": "US"}, True),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, False),
        ({"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BurnedInAnnotation": "NO"}, True),
        ({"Modality": "CT", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, True),
    ],
)
def test_what_may_have_text_in_it_is_known_by_its_kind(more: dict[str, object], expected: bool) -> None:
    assert may_have_text(real_image(**more)) is expected


def test_text_in_pixels_is_held_only_where_it_says_who_somebody_is() -> None:
    identifiers = PROFILE.clean(real_image()).identifiers
    assert burnt_in.findings([Seen("Depth 12 cm", 0, (0, 0, 10, 10))], identifiers) == []
    held = burnt_in.findings(
        [Seen("QUIXOTE, D.", 2, (5, 6, 70, 8)), Seen("2011", 0, (0, 0, 9, 9)), Seen("02 03", 0, (9, 0, 9, 9))], identifiers
    )
    assert [one.where for one in held] == ["PixelData, frame 2, at 5,6 (70x8)", "PixelData"]
    assert "quixote" not in str(held).casefold()


def deflated(image_bytes: bytes) -> bytes:
    image = dcmread(BytesIO(image_bytes))
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return file_of(image)


def test_a_deflated_image_is_read_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    file = deflated(file_of(real_image()))
    assert read_image(file).PixelData == real_image().PixelData
    with pytest.raises(RefusedImageError, match="cut off"):
        read_image(file[:-40])
    monkeypatch.setattr(dicom_bytes, "MOST_BYTES", 1_000_000)
    bomb = deflated(file_of(real_image(PixelData=b"\0" * 4096 * 4096)))
    assert len(bomb) < 100_000
    with pytest.raises(RefusedImageError, match="deflated and holds more"):
        read_image(bomb)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 500, "a PNG image"),
        (b"", "something else"),
        (b"\0" * 128 + b"DICM", "does not say how long"),
        (b"\0" * 128 + b"DICM" + b"\xff" * 1000, "does not say how long"),
        (file_of(real_image())[:-500], "cut off"),
        (file_of(real_image())[:700], "cut off|no pixels|cannot be read"),
    ],
)
def test_what_is_no_whole_image_is_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(RefusedImageError, match=why):
        read_image(data)


def test_lengths_that_are_not_there_and_deep_nesting_are_refused() -> None:
    file = file_of(real_image())
    at = file.index(b"\xe0\x7f\x10\x00OW") + 8
    with pytest.raises(RefusedImageError):
        read_image(file[:at] + b"\xfe\xff\xff\xff" + file[at + 4 :])
    # An element of undefined length within one, and so on.
    meta_end = file.index(b"\x08\x00\x05\x00") if b"\x08\x00\x05\x00" in file else file.index(b"\x08\x00\x08\x00CS")

    item = b"\x54\x00\x20\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(RefusedImageError):
        read_image(file[:meta_end] + item * 20_000 + file[meta_end:])


@given(st.integers(0, 20_000), st.binary(min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_a_file_with_any_bytes_changed_is_read_or_refused(place: int, changed: bytes) -> None:
    file = file_of(real_image())
    place %= len(file)
    try:
        PROFILE.clean(read_image(file[:place] + changed + file[place + len(changed) :]))
    except RefusedImageError as refusal:
        said = str(refusal).casefold()
    else:
        said = ""
    assert not any(secret in said for secret in SECRETS)
