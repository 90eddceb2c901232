"""DICOM images for tests: real ones that pydicom brings, with a person's data written into them."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from pydicom import Dataset, FileDataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence

PERSON = {
    "PatientName": "Quixote^Dulcinea",
    "PatientID": "TOB-448812",
    "PatientBirthDate": "20110203",
    "AccessionNumber": "ACC7731994",
    "ReferringPhysicianName": "Panza^Sancho",
    "InstitutionName": "Barataria Insula",
    "OtherPatientIDs": "ALT-991177",
}


def real_image(name: str = "MR_small.dcm", **more: Any) -> FileDataset:
    """One of pydicom's, of somebody."""
    image = dcmread(str(get_testdata_file(name, download=False)))
    for keyword, value in {**PERSON, "StudyDate": "20190504", "PatientAge": "008Y", "PatientSex": "F", **more}.items():
        setattr(image, keyword, value)
    nested = Dataset()
    nested.PatientName, nested.RequestingPhysician = PERSON["PatientName"], PERSON["ReferringPhysicianName"]
    nested.ScheduledProcedureStepStartDate, nested.ReferencedSOPInstanceUID = "20190504", image.SOPInstanceUID
    image.ReferencedImageSequence = Sequence([nested])
    block = image.private_block(0x0099, "QUIXOTE CORP", create=True)
    block.add_new(1, "LO", PERSON["PatientName"])
    return image


def file_of(image: FileDataset) -> bytes:
    """Its file."""
    stream = BytesIO()
    dcmwrite(stream, image, enforce_file_format=True)
    return stream.getvalue()


def captured_screen(pixels: np.ndarray[Any, Any], **more: Any) -> FileDataset:
    """An ultrasound image with these pixels, 8 bits of grey."""
    image = real_image(Modality="US", Rows=pixels.shape[0], Columns=pixels.shape[1], **more)
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 7, 0, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue", "NumberOfFrames"):
        if keyword in image:
            del image[keyword]
    image.PixelData = pixels.astype(np.uint8).tobytes() + (b"\0" if pixels.size % 2 else b"")
    return image
