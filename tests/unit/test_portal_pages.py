"""The portal's style sheet and script, as far as they can be judged without a browser."""

import re

import pytest

STATIC = "services/portal/portal/static"
PAIRS = [
    ("ink", "paper"),
    ("ink", "panel"),
    ("quiet", "paper"),
    ("quiet", "panel"),
    ("link", "paper"),
    ("link", "panel"),
    ("alarm", "paper"),
    ("button-ink", "button"),
]
"""Text, and what it stands on."""


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_told_from_what_it_stands_on(repository, scheme):
    sheet = (repository / STATIC / "portal.css").read_text()
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", sheet.split(":root {")[scheme + 1]))
    for text, ground in PAIRS:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["line"], colours["paper"]) >= 3, "the edge of a field"


def test_nothing_is_fetched_from_elsewhere(repository):
    for path in [*(repository / STATIC).iterdir(), *(repository / "services/portal/portal/templates").iterdir()]:
        found = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", path.read_text())) - {"http://www.w3.org"}
        assert not found, path
