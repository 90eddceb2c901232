"""An image that arrives: let in, or held until somebody has looked at it."""

from __future__ import annotations

from collections.abc import Callable

from pydicom import FileDataset

from datasets.domain.burnt_in import Seen, findings, may_have_text
from datasets.domain.deidentification import Cleaned
from datasets.domain.errors import UnreadableError
from datasets.domain.identifiers import Finding

Reads = Callable[[FileDataset], list[Seen]]
"""Looks for text in an image's pixels; raises UnreadableError where it cannot."""


def to_look_at(cleaned: Cleaned, read: Reads) -> tuple[Finding, ...]:
    """What somebody has to look at before others may see an image; nothing for one that is let in.

    An image that may have text in it and cannot be looked through is held: nobody knows what it shows.
    """
    if not may_have_text(cleaned.image):
        return cleaned.findings
    try:
        seen = read(cleaned.image)
    except UnreadableError as error:
        return (*cleaned.findings, Finding("PixelData", f"images of this kind often have text in them, and {error}"))
    return (*cleaned.findings, *findings(seen, cleaned.identifiers))
