"""Images as they arrive: read within bounds or refused, and without who somebody is, at every level of the header."""

from __future__ import annotations

import struct
from datetime import datetime
from io import BytesIO

import pytest
from dicom_images import file_of, real_image
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, FileDataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from datasets.domain import burnt_in, dicom_bytes
from datasets.domain.burnt_in import Seen, may_have_text
from datasets.domain.deidentification import OUR_UID, Profile, Retain, study_of
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


def added(image: FileDataset, keyword: str, kind: str, value: object) -> FileDataset:
    """An image with an element that says that it is of a kind."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    image[tag] = DataElement(tag, kind, value)
    return image


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [("LO", "QUIXOTE"), ("UI", "1.2.840.10008.1/../../QUIXOTE"), ("UI", "1.2.840.10008.448812"), ("UI", "1.2.840.10008.1.2.1")],
)
def test_no_file_chooses_what_its_image_is_known_by(keyword: str, kind: str, value: str) -> None:
    file = file_of(added(real_image(), keyword, kind, value))
    if kind == "LO" or UID(value).type:
        with pytest.raises(RefusedImageError, match=keyword):
            PROFILE.clean(read_image(file))
        return
    cleaned = PROFILE.clean(read_image(file)).image
    study = study_of(cleaned)
    assert all(OUR_UID.fullmatch(one) for one in (cleaned[keyword].value, study.uid, *study.instances))


@given(
    keyword=st.sampled_from(
        ["FrameOfReferenceUID", "StudyDate", "OperatorsName", "StudyTime", "PatientAge", "BodyPartExamined", "Rows", "EthnicGroup"]
    ),
    kind=st.sampled_from(["LO", "LT", "UT", "SH", "PN", "UI", "OB", "UC", "CS", "AE", "DT"]),
    nested=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_no_element_stays_by_saying_that_it_is_of_another_kind(keyword: str, kind: str, nested: bool) -> None:
    image, secret = real_image(), "WINDMILL"
    place = image.ReferencedImageSequence[0] if nested else image
    tag = Tag(tag_for_keyword(keyword) or 0)
    place[tag] = DataElement(tag, kind, secret.encode() if kind == "OB" else secret)
    as_it_is = kind in dictionary_VR(tag).split(" or ")
    try:
        cleaned = PROFILE.clean(read_image(file_of(image)))
    except RefusedImageError:
        return
    assert as_it_is or secret.casefold() not in raw(written(cleaned.image))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyDate", "20190504QUIXOTE"),
        ("StudyDate", "20190504448812"),
        ("AcquisitionDateTime", "20190514 QUIXOTE"),
        ("StudyTime", "QUIXOTE"),
        ("SeriesTime", "10 448812"),
    ],
)
def test_days_and_times_keep_nothing_that_is_none(keyword: str, value: str) -> None:
    cleaned = PROFILE.clean(real_image(**{keyword: value})).image
    assert str(cleaned.get(keyword) or "") == ""


def test_what_our_own_elements_are_called_is_looked_through_within_others() -> None:
    image = real_image()
    image.ViewCodeSequence = Sequence([Dataset()])
    image.ViewCodeSequence[0].CodeMeaning, image.ViewCodeSequence[0].CodeValue = "Quixote", "448812"
    findings = PROFILE.clean(image).findings
    assert [one.where for one in findings] == ["ViewCodeSequence[0].CodeValue", "ViewCodeSequence[0].CodeMeaning"]


def test_an_image_that_says_text_is_burnt_in_is_held() -> None:
    assert [one.where for one in PROFILE.clean(real_image(BurnedInAnnotation="YES")).findings] == ["PixelData"]


def test_a_header_that_names_very_many_is_refused_and_one_of_many_findings_names_the_first() -> None:
    many = real_image(OtherPatientNames=[f"Windmill{number}" for number in range(1001)])
    with pytest.raises(RefusedImageError, match="more than 1000 words"):
        PROFILE.clean(read_image(file_of(many)))
    image = real_image()
    place: Dataset = image
    for _ in range(60):
        place.ViewCodeSequence = Sequence([Dataset()])
        place = place.ViewCodeSequence[0]
        place.ImageComments, place.SeriesDescription = "QUIXOTE", "Quixote, T2"
    findings = PROFILE.clean(image).findings
    assert len(findings) == 51
    assert findings[-1].why == "it has more than these 50 findings"


def test_patients_of_two_issuers_are_two_and_case_and_image_meet() -> None:
    cleaned = [PROFILE.clean(real_image(IssuerOfPatientID=issuer)).pseudonym for issuer in ("", "Hospital A", "Hospital B")]
    assert cleaned == [NAMES.of_patient("TOB-448812", issuer) for issuer in ("", "Hospital A", "Hospital B")]
    assert len(set(cleaned)) == 3


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
        ({"Modality": "CT", "ImageType": "DERIVED"}, True),
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
    monkeypatch.setattr(dicom_bytes, "MOST_INFLATED", 1_000_000)
    bomb = deflated(file_of(real_image(PixelData=b"\0" * 4096 * 4096)))
    assert len(bomb) < 100_000
    with pytest.raises(RefusedImageError, match="deflated and holds more"):
        read_image(bomb)


def element(tag: int, kind: bytes, value: bytes) -> bytes:
    """One in a file, of a kind with a short length."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, kind, len(value)) + value


def test_nothing_after_the_pixels_is_read_whichever_tags_it_has() -> None:
    unpadded = real_image()
    del unpadded[0xFFFCFFFC]  # which would end it otherwise
    file, after = file_of(unpadded), element(0x00100020, b"LO", b"EVIL-1") + element(0x00080005, b"CS", b"") * 30_000
    image = read_image(file + after)
    assert image.PatientID == real_image().PatientID
    assert list(image.keys()) == list(read_image(file).keys())


def with_sequence(items: bytes) -> bytes:
    """A file whose header has such a sequence, of undefined length."""
    file = file_of(real_image())
    at = file.rindex(b"\x10\x00\x10\x00PN")
    return file[:at] + b"\x08\x00\x50\x12SQ\0\0\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0" + file[at:]


def test_items_and_elements_are_counted_at_every_level() -> None:
    item = b"\xfe\xff\x00\xe0"
    few = element(0x00081150, b"UI", b"1.2\0") * 2
    assert read_image(with_sequence((item + struct.pack("<I", len(few)) + few) * 5))
    with pytest.raises(RefusedImageError, match="items"):
        read_image(with_sequence((item + b"\0\0\0\0") * 10_001))
    many = b"".join(element(0x00090000 + number, b"LO", b"") for number in range(20_001))
    with pytest.raises(RefusedImageError, match="more than 20000 elements"):
        read_image(with_sequence(item + struct.pack("<I", len(many)) + many))


def test_pixels_that_are_a_sequence_and_a_second_transfer_syntax_are_refused() -> None:
    file = file_of(real_image())
    with pytest.raises(RefusedImageError, match="pixels of a kind"):
        read_image(file.replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x10\x00SQ"))
    ends = 144 + int.from_bytes(file[140:144], "little")
    with pytest.raises(RefusedImageError, match="too short a length"):
        read_image(file[:ends] + element(0x00020010, b"UI", DeflatedExplicitVRLittleEndian.encode()) + file[ends:])


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
