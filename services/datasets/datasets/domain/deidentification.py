"""Images without who somebody is: the basic profile of PS3.15, with options, at every level of the header.

https://dicom.nema.org/medical/dicom/current/output/chtml/part15/chapter_E.html

Dates are moved alike within a patient, UIDs stand for others alike within a VO, private elements go, and what the profile keeps is
looked through for what says who somebody is. What says so still is held for review, and the image is not stored where others look.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom import DataElement, Dataset, FileDataset
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from datasets.domain.cases import Study
from datasets.domain.dicom_bytes import NEEDED
from datasets.domain.errors import RefusedImageError
from datasets.domain.identifiers import Finding, identifiers_of, said_again
from datasets.domain.pseudonyms import Pseudonyms
from datasets.domain.sightings import code_of

EDITION = "dicomfields_2026c"
"""Of the standard's table E.1-1."""
OUR_UID = re.compile(r"2\.25\.[0-9]{1,39}")
"""A UID that stands for another."""
OF_IMAGES = 0x0008
"""The first group of elements that an image has: those of groups before belong to files and messages."""


class Retain(StrEnum):
    """Options of the profile that keep something; all others but dates, which are always moved, are not offered."""

    CHARACTERISTICS = "patient-characteristics"
    """Age, sex, height and weight (113108)."""
    DESCRIPTORS = "descriptors"
    """What studies, series and protocols are called, once nothing in it says who somebody is (113105)."""
    DEVICE = "device"
    """Which machine it was, without its serial number's station and place (113109)."""


KEPT = {
    Retain.CHARACTERISTICS: ("PatientAge", "PatientSex", "PatientSize", "PatientWeight"),
    Retain.DESCRIPTORS: (
        "StudyDescription",
        "SeriesDescription",
        "ProtocolName",
        "AcquisitionProtocolDescription",
        "ContrastBolusAgent",
        "BodyPartExamined",
    ),
    Retain.DEVICE: ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),
}
NAMES = {
    Retain.CHARACTERISTICS: codes.DCM.RetainPatientCharacteristicsOption,
    Retain.DESCRIPTORS: codes.DCM.CleanDescriptorsOption,
    Retain.DEVICE: codes.DCM.RetainDeviceIdentityOption,
}
OURS = (
    "PatientID",
    "PatientName",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)
BIRTH = ("PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar")
_MOMENT = re.compile(r"([0-9]{8})((?:[0-9]{2}){0,3}(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})?) *")
_TIME = re.compile(r"[0-9]{2}(?::?[0-9]{2}){0,2}(?:\.[0-9]{1,6})? *")
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")


@dataclass(frozen=True)
class Cleaned:
    """An image without who somebody is.

    Attributes:
        pseudonym: whose it is.
        findings: what somebody has to look at before others may see it.
        identifiers: words that said who somebody is, for the pixels to be looked through for; never stored or logged.
    """

    image: FileDataset
    pseudonym: str
    findings: tuple[Finding, ...]
    identifiers: dict[str, str]


class Profile:
    """The profile with some options, for the images of one VO."""

    def __init__(
        self, pseudonyms: Pseudonyms, retain: frozenset[Retain] = frozenset({Retain.CHARACTERISTICS, Retain.DESCRIPTORS})
    ) -> None:
        self._pseudonyms, self._retain = pseudonyms, retain
        self._kept = {keyword for option in retain for keyword in KEPT[option]}
        self._single, self._ranges = _table()

    def clean(self, image: FileDataset) -> Cleaned:
        """The image without who somebody is; the one that is given is changed.

        Raises:
            RefusedImageError: it does not say whose it is, has an element that cannot be read, or more than is looked through.
        """
        try:
            pseudonym = self._pseudonyms.of_patient(*(str(image.get(one) or "") for one in ("PatientID", "IssuerOfPatientID")))
        except ValueError:
            raise RefusedImageError(
                "the image has no PatientID, so nobody can tell whose it is: enter it where it was made"
            ) from None
        try:
            identifiers = identifiers_of(image)
            self._walk(image, pseudonym)
            _require_ours(image)
            self._sign(image, pseudonym)
            findings = [*said_again(image, identifiers, OURS), *_said_of_pixels(image)]
        except RefusedImageError:
            raise
        except Exception as error:  # noqa: BLE001  # pydicom raises whatever a broken element leads to, once it is looked at
            raise RefusedImageError(f"an element of the header cannot be read ({type(error).__name__})") from None
        return Cleaned(image, pseudonym, tuple(findings), identifiers)

    def _walk(self, header: Dataset, pseudonym: str) -> None:
        for tag in list(header.keys()):
            element = header[tag]
            # A file that says another kind than the standard would choose by it what is done with the element.
            if element.tag.is_private or element.tag.group < OF_IMAGES or not _as_the_standard_has_it(element):
                del header[tag]
            elif element.keyword in self._kept:
                continue
            elif not self._moved(element, pseudonym):
                self._act(header, element, pseudonym)

    def _moved(self, element: DataElement, pseudonym: str) -> bool:
        """Whether an element is a UID or a time, which are treated alike wherever they are."""
        if element.VR == "UI":
            element.value = _each(element.value, self._uid)
        elif element.keyword in BIRTH:
            return False
        elif element.VR in {"DA", "DT"}:
            timed = element.VR == "DT"
            element.value = _each(element.value, lambda given: self._day(given, pseudonym, timed=timed))
        elif element.VR == "TM":
            # A time of day stays, for days are moved as a whole.
            element.value = _each(element.value, lambda given: given if _TIME.fullmatch(given) else "")
        else:
            return False
        return True

    def _act(self, header: Dataset, element: DataElement, pseudonym: str) -> None:
        action = self._action(element.tag)
        if action == "remove":
            del header[element.tag]
        elif element.VR == "SQ":
            if action == "empty":
                element.value = Sequence()
            else:
                # A dummy of a sequence is the sequence with each of its elements treated.
                for item in element.value:
                    self._walk(item, pseudonym)
        elif action == "dummy" and element.VR in DUMMIES:
            element.value = DUMMIES[element.VR]
        elif action or element.VR == "PN":
            element.value = None if element.VR not in {"PN", "LO", "SH"} else ""

    def _action(self, tag: BaseTag) -> str:
        if found := self._single.get(int(tag)):
            return found
        return next((what for mask, value, what in self._ranges if int(tag) & mask == value), "")

    def _uid(self, given: str) -> str:
        # The standard's own name kinds, and no image; they are known one by one, for a file may begin any UID like them.
        return given if UID(given).type or not given else self._pseudonyms.of_uid(given)

    def _day(self, given: str, pseudonym: str, *, timed: bool) -> str:
        """A date, or a date with a time, moved; nothing where it is none, or has something else beside it."""
        found = _MOMENT.fullmatch(given)
        if not found or not (day := _day(found[1])) or (found[2] and not timed):
            return ""
        return f"{self._pseudonyms.shifted(pseudonym, day):%Y%m%d}".zfill(8) + found[2]

    def _sign(self, image: FileDataset, pseudonym: str) -> None:
        image.PatientID, image.PatientName = pseudonym, pseudonym
        image.PatientIdentityRemoved = "YES"
        image.LongitudinalTemporalInformationModified = "MODIFIED"
        image.DeidentificationMethod = "PS3.15 basic profile"
        done = [
            codes.DCM.BasicApplicationConfidentialityProfile,
            codes.DCM.RetainLongitudinalTemporalInformationModifiedDatesOption,
        ]
        image.DeidentificationMethodCodeSequence = Sequence(
            _code(one) for one in [*done, *(NAMES[one] for one in sorted(self._retain))]
        )
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = image.file_meta.TransferSyntaxUID
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = image.SOPClassUID, UID(image.SOPInstanceUID)
        image.file_meta, image.preamble = meta, b"\0" * 128


DUMMIES: dict[str, Any] = {
    "AE": "REMOVED",
    "CS": "REMOVED",
    "LO": "removed",
    "LT": "removed",
    "PN": "removed",
    "SH": "removed",
    "ST": "removed",
    "UC": "removed",
    "UT": "removed",
    "AS": "000Y",
    "DS": "0",
    "IS": "0",
    "FD": 0,
    "FL": 0,
    "SL": 0,
    "SS": 0,
    "UL": 0,
    "US": 0,
    "OB": b"\0\0",
    "UR": "https://example.invalid",
}
"""What stands where something has to."""
ACTIONS = {
    "D_TAGS": "dummy",
    "Z_TAGS": "empty",
    "X_TAGS": "remove",
    "Z_D_TAGS": "dummy",
    "X_Z_TAGS": "empty",
    "X_D_TAGS": "dummy",
    "X_Z_D_TAGS": "dummy",
    "X_Z_U_STAR_TAGS": "dummy",
}
"""Of the table: where an image's kind decides, what fits all kinds. UIDs need no action of theirs: all of them are mapped."""


def _table() -> tuple[dict[int, str], list[tuple[int, int, str]]]:
    single: dict[int, str] = {}
    ranges: list[tuple[int, int, str]] = []
    table: dict[str, list[tuple[int, ...]]] = dicom_anonymization_database_selector(EDITION)
    for name, what in ACTIONS.items():
        for tag in table[name]:
            if len(tag) == 2:
                single[Tag(*tag)] = what
            else:
                # A repeating group, as those of overlays: group, element, and what of each counts.
                mask = tag[2] << 16 | tag[3]
                ranges.append((mask, (tag[0] << 16 | tag[1]) & mask, what))
    return single, ranges


def _as_the_standard_has_it(element: DataElement) -> bool:
    try:
        kinds = dictionary_VR(element.tag)
    except KeyError:
        return False
    # One of several that only other elements decide between is called by all of them until it is written.
    return element.VR in {kinds, *kinds.split(" or ")}


def _require_ours(image: Dataset) -> None:
    """What a case and the archive know an image by is what was made here, whatever the file has said."""
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        if not OUR_UID.fullmatch(str(image.get(keyword) or "")):
            raise RefusedImageError(f"the image's {keyword} is no UID of an image: have it sent again by what made it")
    if missing := [keyword for keyword in (*NEEDED, "PixelData") if not image.get(keyword)]:
        raise RefusedImageError(f"the image's {missing[0]} is not of the kind that the standard says")


def _each(value: Any, change: Callable[[str], str]) -> Any:
    if value is None:
        return value
    return [change(str(one)) for one in value] if isinstance(value, MultiValue | list) else change(str(value))


def _day(text: str) -> date | None:
    found = _DATE.match(text)
    try:
        return date(*(int(part) for part in found.groups())) if found else None
    except ValueError:
        return None


def _code(code: Any) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _said_of_pixels(image: Dataset) -> list[Finding]:
    if str(image.get("BurnedInAnnotation") or "").upper() == "YES":
        return [Finding("PixelData", "the image says that text is burnt into it")]
    return []


def study_of(image: Dataset) -> Study:
    """What a case says of an image without who somebody is."""
    part, modality = code_of(str(image.get("BodyPartExamined") or "")), code_of(str(image.Modality))
    return Study(
        uid=str(image.StudyInstanceUID),
        modalities=(modality,) if modality else (),
        parts=(part,) if part else (),
        day=_day(str(image.get("StudyDate") or "")),
        instances=(str(image.SOPInstanceUID),),
    )
