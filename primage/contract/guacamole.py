"""Apache Guacamole: machines outside the cluster that people see in a browser, by RDP, VNC or SSH.

https://guacamole.apache.org/doc/gug/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from primage.contract.https import Opened, Origin
from primage.contract.images import REGISTRY
from primage.contract.networks import Cidr
from primage.contract.outputs import Settings, SomeQuantity
from primage.contract.spelling import DnsLabel, like

if TYPE_CHECKING:
    from primage.contract.login import LoginConfig

GUACAMOLE, GUACD = "guacamole", "guacd"
"""Its web application, and what speaks to the machines: names of the pods and Services."""
PORT, GUACD_PORT = 8080, 4822
CLIENT = "primage-guacamole"
"""Of the identity provider: a public one, which is told who somebody is by the implicit flow, the one way that Guacamole has."""
PASSWORD_KEY, AUTHORITY_KEY = "password", "ca.crt"  # keys of the database's Secret
DATABASE_FOLDER = "/run/database"
"""Where its container finds what vouches for the database."""

PinnedImage = Annotated[
    str, like(rf"(?=[^@]+/){REGISTRY}@sha256:[0-9a-f]{{64}}", "an image by digest: registry.example.org/guacamole/guacd@sha256:…")
]
DatabaseHost = Annotated[str, like(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", "a host in lowercase letters, or an address")]
DatabaseName = Annotated[str, like(r"[a-z_][a-z0-9_]{0,62}", "lowercase letters, digits and underscores")]


class DatabaseConfig(Settings):
    """A PostgreSQL database of the operators', in which Guacamole keeps machines and who may use them."""

    host: DatabaseHost = Field(description="Its server.")
    port: int = Field(default=5432, ge=1, le=65_535, description="Its port.")
    name: DatabaseName = Field(default=GUACAMOLE, description="The database's name.")
    user: DatabaseName = Field(default=GUACAMOLE, description="Who Guacamole is there.")
    secret: DnsLabel = Field(
        description="Secret in namespace primage-system: password is that user's, ca.crt vouches for the server, which speaks TLS."
    )
    network: Cidr = Field(description="Where the server is, as a network: 10.0.3.7/32.")


class WayInConfig(Settings):
    """What ends TLS before Guacamole, in the cluster."""

    namespace: DnsLabel = Field(description="Namespace of its pods.")
    labels: dict[str, Annotated[str, like(r"[A-Za-z0-9._-]{1,63}", "a label's value")]] = Field(
        min_length=1, description="Labels of those pods: nobody else reaches Guacamole."
    )


class GuacamoleConfig(Settings, Opened):
    """Guacamole, by images that the site names: this project has none of it."""

    url: Origin = Field(description="Where people open it; the identity provider sends them back there only.")
    image: PinnedImage = Field(description="Image of its web application, 1.6 or later, by digest: …/guacamole/guacamole@sha256:….")
    guacd_image: PinnedImage = Field(description="Image of its proxy, of the same version, by digest: …/guacamole/guacd@sha256:….")
    database: DatabaseConfig = Field(description="Where it keeps machines and who may use them.")
    way_in: WayInConfig = Field(description="What ends TLS before it, and leads to port 8080 of Service guacamole.")
    machines: tuple[Cidr, ...] = Field(min_length=1, description="Networks of the machines that people see with it.")
    ports: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = Field(
        default=(22, 3389, 5900), min_length=1, description="Ports of those machines that it may speak to: SSH, RDP, VNC."
    )
    memory: SomeQuantity = Field(default="1Gi", description="The most memory that its web application may take.")

    @property
    def redirect(self) -> str:
        """Where the identity provider sends browsers back to, and nowhere else."""
        return f"{self.url}/"

    def environment(self, login: LoginConfig) -> dict[str, str]:
        """Its settings, without the one that is secret: https://guacamole.apache.org/doc/gug/openid-auth.html"""
        from primage.contract.login import GROUPS_CLAIM, IDENTITY_CLAIM

        endpoint = f"{login.issuer}/protocol/openid-connect"
        return {
            "WEBAPP_CONTEXT": "ROOT",
            "GUACD_HOSTNAME": GUACD,
            "GUACD_PORT": str(GUACD_PORT),
            # Nobody is asked for a password: everybody is sent to the identity provider.
            "EXTENSION_PRIORITY": "openid",
            "OPENID_ENABLED": "true",
            "OPENID_AUTHORIZATION_ENDPOINT": f"{endpoint}/auth",
            "OPENID_JWKS_ENDPOINT": f"{endpoint}/certs",
            "OPENID_ISSUER": login.issuer,
            "OPENID_CLIENT_ID": CLIENT,
            "OPENID_REDIRECT_URI": self.redirect,
            "OPENID_SCOPE": "openid",
            "OPENID_USERNAME_CLAIM_TYPE": IDENTITY_CLAIM,
            "OPENID_GROUPS_CLAIM_TYPE": GROUPS_CLAIM,
            "POSTGRESQL_ENABLED": "true",
            "POSTGRESQL_HOSTNAME": self.database.host,
            "POSTGRESQL_PORT": str(self.database.port),
            "POSTGRESQL_DATABASE": self.database.name,
            "POSTGRESQL_USERNAME": self.database.user,
            "POSTGRESQL_SSL_MODE": "verify-full",
            "POSTGRESQL_SSL_ROOT_CERT_FILE": f"{DATABASE_FOLDER}/{AUTHORITY_KEY}",
            # Whoever has logged in is known there; what they may use, the groups say that the identity provider names.
            "POSTGRESQL_AUTO_CREATE_ACCOUNTS": "true",
        }
