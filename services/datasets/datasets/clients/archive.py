"""The site's image archive, by DICOMweb: https://dicom.nema.org/medical/dicom/current/output/chtml/part18/chapter_10.html"""

from __future__ import annotations

import secrets
from pathlib import Path

import requests
from pydicom import FileDataset

from datasets.domain.dicom_bytes import written
from datasets.domain.errors import ArchiveAwayError
from primage.contract.image_archive import USER

SECONDS = (5, 120)
"""For the archive to be reached, and to answer."""
KEPT = frozenset({200, 202})
"""What an archive answers that has kept what it was sent, or some of it."""
FAILED = "00081198"
"""FailedSOPSequence: what it has not kept, and why."""


class Archive:
    """One VO's part of it.

    Args:
        url: of its DICOMweb.
        password: file with the service's password there, read each time; None where the archive asks for none.
        authority: file with the certificates that vouch for it; None for the usual ones.
    """

    def __init__(self, url: str, password: Path | None = None, authority: Path | None = None) -> None:
        self._url, self._password, self._authority = url.rstrip("/"), password, authority

    def store(self, image: FileDataset) -> None:
        """Keep an image; the archive has it when this returns. One that is there already stays.

        Raises:
            ArchiveAwayError: the archive cannot be asked, or does not take it.
        """
        file = written(image)
        boundary = _not_in(file)
        headers = {
            "Accept": "application/dicom+json",
            "Content-Type": f'multipart/related; type="application/dicom"; boundary="{boundary}"',
        }
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self._authority) if self._authority else True
            try:
                if self._password:
                    session.auth = (USER, self._password.read_text(encoding="utf-8").strip())
                # Once: whoever sends the image sends it again, and is told so soon.
                answer = session.post(
                    f"{self._url}/studies", _part(file, boundary), headers=headers, timeout=SECONDS, allow_redirects=False
                )
                if answer.status_code not in KEPT:
                    raise ArchiveAwayError(f"the archive answers {answer.status_code}: send the image again later")
                said = answer.json() if answer.content else {}
            except (requests.RequestException, OSError, ValueError) as error:
                raise ArchiveAwayError(
                    f"the archive does not take the image ({type(error).__name__}); send it again later"
                ) from error
        if not isinstance(said, dict) or (said.get(FAILED) or {}).get("Value"):
            raise ArchiveAwayError("the archive refused the image: ask an operator to look at its log")


def _not_in(file: bytes) -> str:
    """What divides a message that has this file: nobody who makes a file can know it, so none can hold a second part."""
    while (boundary := secrets.token_hex(16)).encode() in file:
        continue
    return boundary


def _part(file: bytes, boundary: str) -> bytes:
    """https://dicom.nema.org/medical/dicom/current/output/chtml/part18/sect_8.6.html"""
    return b"".join((f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(), file, f"\r\n--{boundary}--\r\n".encode()))
