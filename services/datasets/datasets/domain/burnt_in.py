"""Text that a machine has written into the pixels: which images may have some, and whether it says who somebody is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import UID

from datasets.domain.identifiers import Finding, said

OFTEN = frozenset({"US", "IVUS", "XA", "RF", "ES", "XC", "GM", "OT", "SC", "DG", "DOC", "ECG", "OP", "MG", "CR", "DX", "IO", "PX"})
"""Modalities whose images often have text in them: ultrasound, fluoroscopy, photographs, radiographs, captured screens."""
CAPTURED = "1.2.840.10008.5.1.4.1.1.7"
"""What the classes of captured screens begin with."""
DERIVED = frozenset({"DERIVED", "SECONDARY", "SCREEN SAVE"})


@dataclass(frozen=True)
class Seen:
    """Text in an image.

    Attributes:
        box: left, top, width and height, in pixels.
    """

    text: str
    frame: int
    box: tuple[int, int, int, int]


def may_have_text(image: Dataset) -> bool:
    """Whether an image's pixels have to be looked through; not where it says itself that there is nothing."""
    if str(image.get("BurnedInAnnotation") or "").upper() == "NO" and not _captured(image):
        return False
    given = image.get("ImageType") or []
    kinds = {str(one).upper() for one in ([given] if isinstance(given, str) else given)}
    return str(image.Modality).upper() in OFTEN or _captured(image) or bool(kinds & DERIVED and "LOCALIZER" not in kinds)


def _captured(image: Dataset) -> bool:
    return UID(image.SOPClassUID).startswith(CAPTURED)


def findings(seen: Iterable[Seen], identifiers: dict[str, str]) -> list[Finding]:
    """Where the pixels say who somebody is."""
    texts = list(seen)
    found = [
        Finding(
            f"PixelData, frame {one.frame}, at {one.box[0]},{one.box[1]} ({one.box[2]}x{one.box[3]})",
            f"it shows what {source} said",
        )
        for one in texts
        for source in said(one.text, identifiers)
    ]
    # A date or number that is read in several pieces.
    whole = said(" ".join(one.text for one in texts), identifiers)
    missed = [source for source in whole if not any(source in one.why for one in found)]
    return found + [Finding("PixelData", f"it shows what {source} said, in several places") for source in missed]
