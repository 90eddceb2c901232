"""What the service is told: a folder of files, of which one is a document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from datasets.domain.deidentification import Retain
from primage.contract import image_archive, records
from primage.contract.https import Origin, RealmUrl
from primage.contract.login import AUTHORITY_KEY
from primage.contract.outputs import Settings
from primage.contract.spelling import VoName

DOCUMENT = "datasets.json"


class DatasetsSettings(Settings):
    """What one site's service is for."""

    url: Origin = Field(description="Where people open it.")
    issuer: RealmUrl = Field(description="Where they log in.")
    audience: str = Field(min_length=1, max_length=100, description="Whom the issuer's tokens have to be meant for.")
    vos: tuple[VoName, ...] = Field(description="The VOs that the site serves.")
    retain: frozenset[Retain] = Field(
        default=frozenset({Retain.CHARACTERISTICS, Retain.DESCRIPTORS}), description="What images keep beside the basic profile."
    )
    database: str = Field(default=records.DATABASE, pattern="^[a-z]{1,30}$", description="Name of the database of records.")


@dataclass(frozen=True)
class Given:
    """The folder.

    Attributes:
        settings: what the document says.
    """

    folder: Path
    settings: DatasetsSettings

    @property
    def key(self) -> Path:
        """Of all pseudonyms."""
        return self.folder / "key" / "pseudonyms"

    @property
    def records_url(self) -> str:
        """Where the records are, as `primage.contract.records` says it: without who asks, or a password."""
        return (self.folder / "records" / "url").read_text(encoding="utf-8").strip()

    @property
    def records_login(self) -> dict[str, str]:
        """Who the service is to the records, and who vouches for their server, as pymongo takes it; never logged.

        A server has TLS where a file says who vouches for it; the service logs in with a password, or shows a certificate.
        """
        place = self.folder / "records"
        given: dict[str, str] = {}
        for option, name in (("tlsCAFile", records.AUTHORITY_KEY), ("tlsCertificateKeyFile", records.CLIENT_KEY)):
            if (file := place / name).exists():
                given[option] = str(file)
        if (file := place / records.PASSWORD_KEY).exists():
            given |= {
                "username": records.USER,
                "password": file.read_text(encoding="utf-8").strip(),
                "authSource": records.AUTH_SOURCE,
            }
        return given

    def archive_of(self, vo: str) -> tuple[str, Path | None, Path | None] | None:
        """Where a VO's part of the archive is, and the files with its password and with who vouches for it; None: there is none."""
        place = self.folder / "archive" / vo
        if not (place / "url").exists():
            return None
        files = [
            file if file.exists() else None for file in (place / image_archive.PASSWORD_KEY, place / image_archive.AUTHORITY_KEY)
        ]
        return (place / "url").read_text(encoding="utf-8").strip(), files[0], files[1]

    @property
    def held(self) -> Path:
        """Images that are held for review: a volume that nothing else has."""
        return self.folder / "held"

    @property
    def issuers_authority(self) -> Path | None:
        """Who vouches for the identity provider; None for the usual ones."""
        file = self.folder / "issuer" / AUTHORITY_KEY
        return file if file.exists() else None

    @property
    def certificate(self) -> tuple[Path, Path]:
        """The certificate of the service itself, and its key."""
        return self.folder / "tls" / "tls.crt", self.folder / "tls" / "tls.key"


def read_folder(folder: Path) -> Given:
    """Read it.

    Raises:
        OSError, ValueError: it does not hold such a document.
    """
    return Given(folder, DatasetsSettings.model_validate_json((folder / "site" / DOCUMENT).read_text(encoding="utf-8")))
