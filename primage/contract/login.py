"""How people log in to a site: its identity provider, and what a token of it says of a person.

https://openid.net/specs/openid-connect-core-1_0.html
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from primage.contract.certified import Certified
from primage.contract.gateway import GatewayConfig
from primage.contract.guacamole import GuacamoleConfig
from primage.contract.https import HttpsUrl, Opened, Origin, RealmUrl, place_of
from primage.contract.kept import KeptInFolder, KeptOnClaim
from primage.contract.networks import Cidr
from primage.contract.outputs import Settings, SomeQuantity
from primage.contract.spelling import DnsLabel, like

KUBECTL_CLIENT = "primage-kubectl"
"""The client that command lines log in by: a public one, with PKCE; its tokens are for the API server, and for nothing else."""
AUTHORIZER_CLIENT = "primage-authorizer"
"""The client of the site's authorizer, which reads who is in which group."""
PORTAL_CLIENT = "primage-portal"
"""The client of the site's portal: a confidential one, with PKCE; its tokens are for the API server too."""
IDENTITY_CLAIM, GROUPS_CLAIM = "preferred_username", "groups"
UID_ATTRIBUTE = "uid"
"""Of an account at the identity provider: the POSIX user, which only administrators there may change."""

CLIENT_SECRET = "login-client"  # noqa: S105  # the name of a Secret
CLIENT_SECRET_KEY, AUTHORITY_KEY = "client-secret", "ca.crt"  # keys in it
"""The Secret with which the authorizer logs in: its password and, where it is not one of the usual ones, the authority that
vouches for the issuer."""
KEYCLOAK, KEYCLOAK_PORT = "keycloak", 8443
"""The site's own Keycloak: its Service and pods, and where they listen."""
PORTAL_SECRET = "portal-client"  # noqa: S105  # the name of a Secret
"""The Secret with the portal's password at the identity provider, under CLIENT_SECRET_KEY."""
PORTAL_SECRET_FILE = "portal-client-secret"  # noqa: S105  # the name of a file
"""The same as the authorizer finds it, which tells a Keycloak of the site's own."""
SESSIONS_CLIENT = "primage-sessions"
"""The client of the proxies before sessions: public, with PKCE: each is in its owner's hands. Its tokens open nothing else."""
LOGGED_IN = "/login/done"
"""Where in the portal the identity provider sends a browser back to."""
LOGIN_ENDED = "/login/ended"
"""Where the identity provider tells the portal that a login has ended."""


class Issued(Settings):
    """A setting that names an issuer."""

    issuer: HttpsUrl = Field(description="As its tokens name it: https://login.example.org/realms/primage.")

    @property
    def host(self) -> str:
        """The host of the issuer, without its port."""
        return place_of(self.issuer).host

    @property
    def port(self) -> int:
        """Its port."""
        return place_of(self.issuer).port

    @property
    def realm(self) -> str:
        """Of Keycloak: its name for what it issues for."""
        return self.issuer.rpartition("/realms/")[2]

    @property
    def server(self) -> str:
        """Of Keycloak: the server without the realm."""
        return self.issuer.partition("/realms/")[0]


class InstitutionConfig(Issued):
    """An institution whose own login is brokered, by OpenID Connect: EGI Check-in, or a university's gateway."""

    name: DnsLabel = Field(description="Short name; part of the address that the institution is given to come back to.")
    title: str = Field(default="", max_length=100, description="What the button says; the short name unless it is given.")
    client: str = Field(min_length=1, max_length=200, description="What the institution calls this site's client.")
    secret: str = Field(
        min_length=1, max_length=253, description="Secret in namespace primage-system whose key client-secret the institution gave."
    )
    claim: Annotated[str, like(r"[A-Za-z0-9_]{1,64}", "one claim's name, such as sub")] = Field(
        description="What of its token is the first part of people's names, up to an @: something that nobody there can choose, or "
        "have after somebody else. At an institution that brokers others, `sub`."
    )
    domain: Annotated[str, like(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", "a domain in lowercase letters")] = Field(
        description="The second part: it names people of this domain, and nobody else."
    )
    scopes: str = Field(default="openid profile email", max_length=200, description="What its tokens are asked to say.")
    played: bool = Field(
        default=False, description="For trying things out: a realm of this same Keycloak plays it, and its secret is made with it."
    )


class KeycloakConfig(Certified):
    """A Keycloak of the site's own, on PostgreSQL."""

    image: str = Field(default="primage/keycloak:1", min_length=1, description="Image of Keycloak, built for PostgreSQL.")
    database_image: str = Field(
        default="primage/postgresql:1", min_length=1, description="Image of PostgreSQL (images/postgresql)."
    )
    node_port: int | None = Field(
        default=None,
        ge=30000,
        le=32767,
        description="Port on every node that leads to it; empty where something else leads to Service keycloak.",
    )
    database: KeptInFolder | KeptOnClaim = Field(
        discriminator="kind", description="Where people's accounts are kept; a folder belongs to user 10003."
    )
    cpu: SomeQuantity = Field(
        default="100m", description="Processor cores that are kept for it; it takes more where there are more."
    )
    memory: SomeQuantity = Field(default="1Gi", description="The most memory it may take.")
    institutions: tuple[InstitutionConfig, ...] = Field(
        default=(), description="Institutions whose people log in with their own account."
    )

    @property
    def certificate_secret(self) -> str:
        """The Secret that has its certificate."""
        return self.certificate or "keycloak-certificate"

    @model_validator(mode="after")
    def _apart(self) -> KeycloakConfig:
        for what in ("name", "domain"):
            given = [getattr(institution, what) for institution in self.institutions]
            if len(set(given)) < len(given):
                raise ValueError(f"two institutions have one {what}, and could name each other's people")
        return self


class PortalConfig(Certified, Opened):
    """The site's web pages for members."""

    url: Origin = Field(
        description="Where people open it: https://portal.example.org. The identity provider sends them back there only."
    )
    image: str = Field(default="primage/portal:1", min_length=1, description="Image of the portal (images/portal).")
    node_port: int | None = Field(
        default=None,
        ge=30000,
        le=32767,
        description="Port on every node that leads to it; empty where something else leads to Service portal.",
    )
    memory: SomeQuantity = Field(default="640Mi", description="The most memory it may take.")

    @property
    def certificate_secret(self) -> str:
        """The Secret that has its certificate."""
        return self.certificate or "portal-certificate"


class LoginConfig(Issued):
    """The identity provider whose word says who is a member of what."""

    issuer: RealmUrl = Field(description="As its tokens name it: https://login.example.org/realms/primage.")
    authority: str = Field(
        default="",
        max_length=1024,
        description="File with the authority that vouches for it, PEM, relative to the repository; empty: the usual ones.",
    )
    networks: tuple[Cidr, ...] = Field(
        default=(),
        description="Networks that the issuer's name leads to, where it goes by a name: sessions with a login before them reach it "
        "there, and nothing else outside. Required with a gateway.",
    )
    keycloak: KeycloakConfig | None = Field(default=None, description="A Keycloak that this site runs; empty where another does.")
    portal: PortalConfig | None = Field(default=None, description="Web pages for members; empty: there are command lines only.")
    gateway: GatewayConfig | None = Field(
        default=None, description="The way in to members' sessions; empty: `primage open` alone opens them, through the API server."
    )

    guacamole: GuacamoleConfig | None = Field(
        default=None, description="Guacamole, for machines outside the cluster that people see in a browser; empty: there is none."
    )

    @model_validator(mode="after")
    def _played_here(self) -> LoginConfig:
        for one in self.played:
            if one.server != self.server or one.issuer == self.issuer:
                raise ValueError(f"institution {one.name} is played here, so its issuer has to be another realm of {self.server}")
        return self

    @property
    def played(self) -> tuple[InstitutionConfig, ...]:
        """The institutions that realms of this Keycloak play."""
        return tuple(one for one in self.keycloak.institutions if one.played) if self.keycloak else ()
