"""A DICOM file as it arrives: read within bounds, or refused with a reason that holds nothing of what is in it.

https://dicom.nema.org/medical/dicom/current/output/chtml/part10/chapter_7.html
"""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO

from pydicom import Dataset, FileDataset
from pydicom.config import IGNORE, settings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.filewriter import dcmwrite
from pydicom.tag import BaseTag
from pydicom.uid import UID, AllTransferSyntaxes, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from datasets.domain.errors import RefusedImageError

MOST_BYTES = 512 * 1024 * 1024
"""Of a file."""
MOST_INFLATED = 64 * 1024 * 1024
"""Of what a deflated file holds: half a megabyte can hold 500."""
MOST_HEADER = 4 * 1024 * 1024
"""Before the pixels: what is read into many small objects."""
MOST_ELEMENTS = 20_000
"""In all levels of a header."""
MOST_ITEMS = 10_000
"""Of sequences, wherever in a header; counted before anything is read, as the bytes that an item begins with."""
ITEM, ITEM_BIG = b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"
"""How an item begins, by the order of bytes."""
MOST_PIXELS = 100_000_000
"""In one frame."""
# What pydicom finds odd in a header it would print, and that may be a name. What is odd is not refused for it.
settings.reading_validation_mode = settings.writing_validation_mode = IGNORE
warnings.filterwarnings("ignore", module="pydicom")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
PREAMBLE = 128
LENGTH_OF_META = b"\x02\0\0\0UL\x04\0"
"""How the element begins that says it."""
GROUP_OF_META = b"\x02\0"
PIXELS = 0x7FE00010
PIXELS_VR = frozenset({"OB", "OW", None})
"""None where the file does not say; in another one there could be items, of which a file has room for millions."""
UNDEFINED = 0xFFFFFFFF
OTHERS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"<": "a text of markup",
}
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns")


def read_image(data: bytes) -> FileDataset:
    """The image that a file holds; what comes after its pixels (signatures, padding) is left away.

    Raises:
        RefusedImageError: it holds none, or one that is cut off, or more than is read.
    """
    if len(data) > MOST_BYTES:
        raise RefusedImageError(f"the file has more than {MOST_BYTES >> 20} MiB: send it in several files")
    if data[PREAMBLE : PREAMBLE + 4] != b"DICM":
        kind = next((what for magic, what in OTHERS.items() if data.startswith(magic)), "something else")
        raise RefusedImageError(f"the file is no DICOM file but {kind}, whatever it is called")
    try:
        image = _read(*_plain(data))
        _require_whole(image)
    except RefusedImageError:
        raise
    except RecursionError:
        raise RefusedImageError("the header is nested too deeply to be read") from None
    except Exception as error:  # noqa: BLE001  # pydicom raises whatever a broken header leads to
        raise RefusedImageError(f"the file cannot be read as DICOM ({type(error).__name__})") from None
    return image


def _plain(data: bytes) -> tuple[FileMetaDataset, bytes, int]:
    """The file's meta information, and bytes with nothing deflated in which the rest begins at a place."""
    meta, begins = _meta(data)
    syntax = UID(str(meta.get("TransferSyntaxUID", "")))
    if syntax not in AllTransferSyntaxes:
        raise RefusedImageError("the file's transfer syntax is none that the standard has")
    if syntax != DeflatedExplicitVRLittleEndian:
        return meta, data, begins
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(memoryview(data)[begins:], MOST_INFLATED)
    if inflater.unconsumed_tail:
        raise RefusedImageError(f"the file is deflated and holds more than {MOST_INFLATED >> 20} MiB")
    if not inflater.eof:
        raise RefusedImageError("the file is deflated and cut off")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta, plain, 0


def _meta(data: bytes) -> tuple[FileMetaDataset, int]:
    """The file's meta information, and where what comes after it begins; nothing after it is looked at, or inflated.

    https://dicom.nema.org/medical/dicom/current/output/chtml/part10/chapter_7.html#sect_7.1
    """
    begins = PREAMBLE + 4
    if data[begins : begins + 8] != LENGTH_OF_META:
        raise RefusedImageError("the file does not say how long its meta information is")
    ends = begins + 12 + int.from_bytes(data[begins + 8 : begins + 12], "little")
    if ends > min(len(data), MOST_HEADER):
        raise RefusedImageError("the file is cut off, or says a length that it has not")
    if data[ends : ends + 2] == GROUP_OF_META:
        raise RefusedImageError("the file says too short a length of its meta information")
    return FileMetaDataset(read_dataset(BytesIO(data[begins:ends]), is_implicit_VR=False, is_little_endian=True)), ends


def _read(meta: FileMetaDataset, data: bytes, begins: int) -> FileDataset:
    # What meta information says is what was checked, so nothing else is asked what the rest is like, or inflates it.
    syntax = meta.TransferSyntaxUID
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    ends = min(len(data), begins + MOST_HEADER)
    if data.count(ITEM, begins, ends) + data.count(ITEM_BIG, begins, ends) > MOST_ITEMS:
        raise RefusedImageError(f"the header has sequences of more than {MOST_ITEMS} items")
    stream = BytesIO(data[begins:ends])
    _require_few(read_dataset(stream, implicit, little, stop_when=_after_header()), MOST_ELEMENTS)
    if stream.tell() >= ends - begins:
        raise RefusedImageError(f"the file has no pixels, or a header of more than {MOST_HEADER >> 20} MiB, or is cut off")
    whole = BytesIO(data)
    whole.seek(begins)
    read = read_dataset(whole, implicit, little, stop_when=_after_pixels())
    image = FileDataset("", read, b"\0" * PREAMBLE, meta, implicit, little)
    image.set_original_encoding(implicit, little, read.original_character_set)
    return image


Stop = Callable[[BaseTag, str | None, int], bool]
"""Whether what is read ends before an element, which is in the outermost level."""


def _after_header() -> Stop:
    seen = 0

    def stop(tag: BaseTag, vr: str | None, _length: int) -> bool:
        nonlocal seen
        seen += 1
        if seen > MOST_ELEMENTS:
            raise RefusedImageError(f"the header has more than {MOST_ELEMENTS} elements")
        if tag == PIXELS and vr not in PIXELS_VR:
            raise RefusedImageError("the file has pixels of a kind that are none")
        return bool(tag >= PIXELS)

    return stop


def _after_pixels() -> Stop:
    """The element after the pixels is never read, whichever it is: elements may be out of order, and without end."""
    passed = False

    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        nonlocal passed
        ends, passed = passed or tag > PIXELS, tag == PIXELS
        return ends

    return stop


def _require_few(header: Dataset, left: int) -> int:
    """How many elements more there may be."""
    left -= len(header)
    if left < 0:
        raise RefusedImageError(f"the header has more than {MOST_ELEMENTS} elements")
    for element in header:
        for item in element.value if element.VR == "SQ" else ():
            left = _require_few(item, left)
    return left


def _require_whole(image: FileDataset) -> None:
    for tag in list(image.keys()):
        raw: object = image.get_item(tag)
        if isinstance(raw, RawDataElement) and raw.length != UNDEFINED and len(raw.value or b"") != raw.length:
            raise RefusedImageError("the file is cut off, or says a length that it has not")
    for keyword in NEEDED:
        if not image.get(keyword):
            raise RefusedImageError(f"the image has no {keyword}")
    if PIXELS not in image:
        raise RefusedImageError("the file has no pixels: reports and documents are not taken in")
    rows, columns = int(image.Rows), int(image.Columns)
    if rows * columns > MOST_PIXELS:
        raise RefusedImageError(f"a frame has more than {MOST_PIXELS} pixels")
    if not image.file_meta.TransferSyntaxUID.is_encapsulated:
        frames, samples = int(image.get("NumberOfFrames") or 1), int(image.get("SamplesPerPixel") or 1)
        bits = rows * columns * frames * samples * int(image.BitsAllocated)
        if len(image.PixelData) < bits // 8:
            raise RefusedImageError("the image's pixels are cut off")


def written(image: FileDataset) -> bytes:
    """The file of an image."""
    stream = BytesIO()
    dcmwrite(stream, image, enforce_file_format=True)
    return stream.getvalue()
