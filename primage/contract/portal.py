"""What the site program tells the portal: a document in a config map in the system's namespace."""

from __future__ import annotations

from pydantic import Field

from primage.contract.addresses import Addresses
from primage.contract.https import HTTPS_PORT, Origin, RealmUrl
from primage.contract.login import LOGGED_IN
from primage.contract.outputs import Settings
from primage.contract.spelling import ApiServer, DnsLabel, VoName

DOCUMENT, IMAGES, SITE_FILE = "portal.json", "images.json", "site.yaml"
"""Keys in the config map: what the portal itself reads, by which digest the images go that programs name, and the site's own file,
which programs read there as anywhere else."""
FOLDER = "/run/portal"
"""Where the portal finds what it is told, part by part; the config map is part `site`."""
REPOSITORY = "/opt/portal"
"""Where its image has the repository's programs."""


class PortalGateway(Settings, Addresses):
    """Where members' sessions open in a browser."""

    domain: VoName = Field(description="What their addresses are below.")
    port: int = Field(default=HTTPS_PORT, ge=1, le=65_535, description="Port that browsers use.")


class PortalSettings(Settings):
    """What one site's portal is for."""

    site: DnsLabel = Field(description="The site.")
    description: str = Field(description="What it is, in one line.")
    url: Origin = Field(description="Where people open the portal.")
    issuer: RealmUrl = Field(description="Where they log in.")
    vos: tuple[VoName, ...] = Field(description="The VOs that the site serves.")
    api: ApiServer = Field(default="", description="The API server; empty: that of the cluster that the portal runs in.")

    gateway: PortalGateway | None = Field(
        default=None, description="Where sessions open; empty where only `primage open` opens them."
    )

    @property
    def redirect(self) -> str:
        """Where the identity provider sends browsers back to, and nowhere else."""
        return f"{self.url}{LOGGED_IN}"
