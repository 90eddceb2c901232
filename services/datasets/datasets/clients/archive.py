"""The site's image archive, by DICOMweb: https://dicom.nema.org/medical/dicom/current/output/chtml/part18/chapter_10.html"""

from __future__ import annotations

from pathlib import Path

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import FileDataset

from datasets.domain.errors import ArchiveAwayError

SECONDS = (5, 120)
"""For the archive to be reached, and to answer."""


class Archive:
    """One.

    Args:
        url: of its DICOMweb.
        password: file with `user:password`, read each time; None where the archive asks for none.
        authority: file with the certificates that vouch for it; None for the usual ones.
    """

    def __init__(self, url: str, password: Path | None = None, authority: Path | None = None) -> None:
        self._url, self._password, self._authority = url, password, authority

    def store(self, image: FileDataset) -> None:
        """Keep an image; the archive has it when this returns. One that is there already stays.

        Raises:
            ArchiveAwayError: the archive cannot be asked, or does not take it.
        """
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self._authority) if self._authority else True
            if self._password:
                user, _, password = self._password.read_text(encoding="utf-8").strip().partition(":")
                session.auth = (user, password)
            client = DICOMwebClient(self._url, session=session, timeout=SECONDS)
            # Whoever sends the image sends it again, and is told so soon.
            client.set_http_retry_params(retry=False)
            try:
                answer = client.store_instances([image], study_instance_uid=str(image.StudyInstanceUID))
            except (requests.RequestException, OSError, ValueError) as error:
                raise ArchiveAwayError(
                    f"the archive does not take the image ({type(error).__name__}); send it again later"
                ) from error
        if answer.get("FailedSOPSequence"):
            raise ArchiveAwayError("the archive refused the image: ask an operator to look at its log")
