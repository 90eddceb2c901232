"""What a header says of who somebody is, and where else that is said: in other elements, or in what is written into the pixels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from pydicom import DataElement, Dataset

from datasets.domain.errors import RefusedImageError

NAMED = (
    "PatientName",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientID",
    "OtherPatientIDs",
    "IssuerOfPatientID",
    "AccessionNumber",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "MedicalRecordLocator",
    "AdmissionID",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "RequestingPhysician",
    "ResponsiblePerson",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "InstitutionalDepartmentName",
)
"""Whose values are looked for in all that is kept."""
SHORTEST = 3
"""Letters or digits of what is looked for: what is shorter is in every text."""
TEXTS = frozenset({"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
COMMON = frozenset(
    {"unknown", "anonymous", "anonymized", "anonymised", "none", "test", "patient", "hospital", "the", "and", "dr", "mrs"}
)
"""Words that name nobody."""
MOST_WORDS = 1000
"""That say who somebody is: each is looked for in all that is kept."""
MOST_FINDINGS = 50
_OUTERMOST = re.compile(r"\[[0-9]+\]\.")
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Finding:
    """Where something of a person may still be.

    Attributes:
        where: a tag's keyword, with the sequences that it is in; or a part of the pixels.
        why: what it is, without saying it.
    """

    where: str
    why: str


def words(text: str) -> list[str]:
    """Of a text, so that they compare however they are written."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return _WORDS.findall("".join(letter for letter in plain if not unicodedata.combining(letter)))


def identifiers_of(header: Dataset) -> dict[str, str]:
    """Words that say who somebody is, and which element says so; of a header as it arrived, wherever in it.

    Raises:
        RefusedImageError: there are more than anybody is called by.
    """
    found: dict[str, str] = {}
    for _, element in walked(header):
        if element.keyword in NAMED or element.VR == "PN":
            for word in words(" ".join(texts_of(element))):
                if len(word) >= SHORTEST and word not in COMMON:
                    found.setdefault(word, element.keyword or str(element.tag))
        elif element.keyword == "PatientBirthDate" and len(born := str(element.value)) == 8:
            year, month, day = born[:4], born[4:6], born[6:]
            for spelt in (born, day + month + year, month + day + year):
                found[spelt] = element.keyword
        if len(found) > MOST_WORDS:
            raise RefusedImageError(f"the header names people in more than {MOST_WORDS} words: send it without most of them")
    return found


def texts_of(element: DataElement) -> list[str]:
    """What an element says."""
    value = element.value
    return [str(one) for one in value] if element.VM > 1 else [str(value)] if value is not None else []


def walked(header: Dataset, path: str = "") -> Iterator[tuple[str, DataElement]]:
    """All elements of a header with their places, whatever sequence they are in; no sequence itself."""
    for element in header:
        where = f"{path}{element.keyword or element.tag}"
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from walked(item, f"{where}[{number}].")
        else:
            yield where, element


def said_again(header: Dataset, identifiers: dict[str, str], own: Iterable[str] = ()) -> list[Finding]:
    """Elements that still say what says who somebody is; where there are more than MOST_FINDINGS, the last one says so.

    Args:
        own: keywords of elements of the outermost level that say something of our own, with all that is in them.
    """
    found = list(islice(_said_again(header, identifiers, frozenset(own)), MOST_FINDINGS + 1))
    if len(found) > MOST_FINDINGS:
        found[MOST_FINDINGS] = Finding("the header", f"it has more than these {MOST_FINDINGS} findings")
    return found


def _said_again(header: Dataset, identifiers: dict[str, str], skipped: frozenset[str]) -> Iterator[Finding]:
    for where, element in walked(header):
        if element.VR in TEXTS and _OUTERMOST.split(where, maxsplit=1)[0] not in skipped:
            for source in said(" ".join(texts_of(element)), identifiers):
                yield Finding(where, f"it holds what {source} said")


def said(text: str, identifiers: dict[str, str]) -> list[str]:
    """Which elements' values a text holds: a word of theirs, or digits however they are divided."""
    in_order = words(text)
    given, joined = frozenset(in_order), "".join(in_order)
    return sorted(
        {
            source
            for word, source in identifiers.items()
            if word in given or (any(letter.isdigit() for letter in word) and len(word) >= 6 and word in joined)
        }
    )
