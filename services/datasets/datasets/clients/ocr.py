"""Text in pixels, as Tesseract reads it: a program of its own, so that what goes wrong in it ends with it.

https://tesseract-ocr.github.io/tessdoc/Command-Line-Usage.html
"""

from __future__ import annotations

import csv
import io
import subprocess
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.pixels.utils import pixel_array

from datasets.domain.burnt_in import Seen
from datasets.domain.errors import UnreadableError

SECONDS = 60
"""For one frame."""
LEAST_SURE = 30.0
"""Of a word, in percent: better a wrong word that names nobody than a name that is missed."""
SMALL = 1500
"""Pixels across, below which an image is made larger: Tesseract reads letters of 20 to 40 pixels best."""
COLOURS = 3

Grey = np.ndarray[Any, np.dtype[np.uint8]]


class Tesseract:
    """The program.

    Args:
        environment: what it runs with, besides one thread.
    """

    def __init__(self, program: str = "tesseract", environment: dict[str, str] | None = None) -> None:
        self._program = program
        self._environment = {"PATH": "/usr/bin:/bin", "OMP_THREAD_LIMIT": "1", **(environment or {})}

    def read(self, image: Dataset) -> list[Seen]:
        """Words in the first, middle and last frame: what a machine writes into pixels it writes into all.

        Raises:
            UnreadableError: the pixels cannot be decoded, or the program cannot be run.
        """
        frames = int(image.get("NumberOfFrames") or 1)
        return [seen for number in sorted({0, frames // 2, frames - 1}) for seen in self._frame(image, number)]

    def _frame(self, image: Dataset, number: int) -> list[Seen]:
        grey = _grey(image, number)
        times = max(1, -(-SMALL // max(grey.shape)))
        larger = grey.repeat(times, axis=0).repeat(times, axis=1)
        file = f"P5 {larger.shape[1]} {larger.shape[0]} 255\n".encode() + larger.tobytes()
        try:
            said = subprocess.run(
                [self._program, "stdin", "stdout", "-l", "eng", "--psm", "11", "tsv"],
                input=file,
                capture_output=True,
                timeout=SECONDS,
                env=self._environment,
                check=True,
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise UnreadableError(f"they cannot be looked through for it ({type(error).__name__})") from None
        return [_seen(line, number, times) for line in _lines(said) if float(line["conf"]) >= LEAST_SURE and line["text"].strip()]


def _grey(image: Dataset, number: int) -> Grey:
    try:
        pixels = np.asarray(pixel_array(image, index=number), dtype=np.float64)
    except Exception as error:  # noqa: BLE001  # decoders raise whatever a broken frame leads to
        raise UnreadableError(f"its pixels cannot be decoded here ({type(error).__name__})") from None
    if pixels.ndim == COLOURS:
        pixels = pixels.mean(axis=2)
    low, high = float(pixels.min()), float(pixels.max())
    scaled: Grey = ((pixels - low) * (255 / (high - low or 1))).astype(np.uint8)
    return scaled


def _lines(said: bytes) -> list[dict[str, str]]:
    table = csv.DictReader(io.StringIO(said.decode("utf-8", "replace")), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [line for line in table if line.get("text") is not None and line.get("conf")]


def _seen(line: dict[str, str], frame: int, times: int) -> Seen:
    left, top, width, height = (int(line[name]) // times for name in ("left", "top", "width", "height"))
    return Seen(line["text"], frame, (left, top, width, height))
