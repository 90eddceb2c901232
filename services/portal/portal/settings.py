"""What the portal is told by the site program: a folder of files, of which one is a document (primage.contract.portal)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from primage.contract.login import AUTHORITY_KEY, CLIENT_SECRET_KEY
from primage.contract.portal import DOCUMENT, PortalSettings


@dataclass(frozen=True)
class Given:
    """The folder.

    Attributes:
        settings: what the document says.
    """

    folder: Path
    settings: PortalSettings

    @property
    def password(self) -> Path:
        """The portal's own at the identity provider."""
        return self.folder / "client" / CLIENT_SECRET_KEY

    @property
    def certificate(self) -> tuple[Path, Path]:
        """The certificate of the portal itself, and its key."""
        return self.folder / "tls" / "tls.crt", self.folder / "tls" / "tls.key"

    @property
    def issuers_authority(self) -> Path | None:
        """Who vouches for the identity provider; None for the usual ones."""
        file = self.folder / "issuer" / AUTHORITY_KEY
        return file if file.exists() else None

    @property
    def api_authority(self) -> Path:
        """Who vouches for the API server."""
        return self.folder / "api" / AUTHORITY_KEY


def read_folder(folder: Path) -> Given:
    """Read it.

    Raises:
        OSError, ValueError: it does not hold such a document.
    """
    return Given(folder, PortalSettings.model_validate_json((folder / "site" / DOCUMENT).read_text(encoding="utf-8")))
