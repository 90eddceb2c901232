"""`python -m datasets.clients.pixels`: a DICOM file's pixels in grey; a process of its own, so that a bomb ends it alone.

The file comes by standard input. For the first, middle and last frame (what a machine writes into pixels it writes into all) a line
with its number and the times that it was enlarged goes to standard output, and the frame as a portable greymap.

https://netpbm.sourceforge.net/doc/pgm.html
"""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

import numpy as np
from pydicom import Dataset
from pydicom.pixels.utils import pixel_array

from datasets.domain.dicom_bytes import read_image

SMALL = 1500
"""Pixels across, below which an image is made larger: Tesseract reads letters of 20 to 40 pixels best."""
COLOURS = 3

Grey = np.ndarray[Any, np.dtype[np.uint8]]


def main() -> int:
    """Write the frames, or on standard error why not: the name of what went wrong, which holds nothing of the image's."""
    try:
        _frames(read_image(sys.stdin.buffer.read()), sys.stdout.buffer)
    except Exception as error:  # noqa: BLE001  # decoders raise whatever a broken frame leads to
        sys.stderr.write(type(error).__name__)
        return 1
    return 0


def _frames(image: Dataset, out: BinaryIO) -> None:
    frames = int(image.get("NumberOfFrames") or 1)
    for number in sorted({0, frames // 2, frames - 1}):
        grey = _grey(image, number)
        times = max(1, -(-SMALL // max(grey.shape)))
        larger = grey.repeat(times, axis=0).repeat(times, axis=1)
        out.write(f"{number} {times}\nP5 {larger.shape[1]} {larger.shape[0]} 255\n".encode())
        out.write(larger.tobytes())


def _grey(image: Dataset, number: int) -> Grey:
    pixels = np.asarray(pixel_array(image, index=number))
    grey = pixels.mean(axis=2, dtype=np.float32) if pixels.ndim == COLOURS else pixels.astype(np.float32)
    low, high = float(grey.min()), float(grey.max())
    grey -= low
    grey *= 255 / (high - low or 1)
    scaled: Grey = grey.astype(np.uint8)
    return scaled


if __name__ == "__main__":
    sys.exit(main())
