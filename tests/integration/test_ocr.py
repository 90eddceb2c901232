"""What Debian's Tesseract reads in pixels, and what of it names somebody."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from debian import ensure_program
from dicom_images import captured_screen
from PIL import Image, ImageDraw, ImageFont

from datasets.clients.ocr import Tesseract
from datasets.domain.arrival import to_look_at
from datasets.domain.deidentification import Profile
from datasets.domain.identifiers import Finding
from datasets.domain.pseudonyms import Pseudonyms

pytestmark = pytest.mark.apart
PROFILE = Profile(Pseudonyms(bytes(range(64)), "vo-a"))


@pytest.fixture(scope="module", autouse=True)
def _tesseract() -> None:
    ensure_program("tesseract", "tesseract-ocr", "tesseract-ocr-eng")


def screen_with(text: str, scale: int) -> np.ndarray[Any, Any]:
    """A black screen with white text in a corner, as an ultrasound machine writes it."""
    drawn = Image.new("L", (640, 480), 0)
    ImageDraw.Draw(drawn).text((20, 12), text, fill=255, font=ImageFont.load_default(size=scale))
    return np.asarray(drawn)


@pytest.mark.parametrize(
    ("text", "scale", "named"),
    [
        ("QUIXOTE, DULCINEA", 24, {"PatientName"}),
        ("ID TOB-448812", 20, {"PatientID"}),
        ("Born 03.02.2011", 20, {"PatientBirthDate"}),
        ("Depth 12 cm  MI 0.9", 20, set()),
    ],
)
def test_text_in_real_pixels_is_read_and_held_where_it_names_somebody(text: str, scale: int, named: set[str]) -> None:
    cleaned = PROFILE.clean(captured_screen(screen_with(text, scale)))
    found = to_look_at(cleaned, Tesseract(str(shutil.which("tesseract"))).read)
    assert {word for finding in found for word in finding.why.replace(",", "").split() if word.startswith("Patient")} == named
    assert all(isinstance(finding, Finding) and finding.where.startswith("PixelData") for finding in found)
