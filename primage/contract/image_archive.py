"""The site's archive of medical images: what it is, and where services find each VO's part of it.

Each VO has a shelf: an AE title that images are sent to, an address of DICOMweb, and a password. What is on one shelf is on no
other, so that whoever looks for studies sees those of one VO.

https://dicom.nema.org/medical/dicom/current/output/html/part15.html for TLS (annex B), part18 for DICOMweb.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field, model_validator

from primage.contract.certified import Certified
from primage.contract.guacamole import PinnedImage
from primage.contract.kept import KeptInFolder, KeptOnClaim
from primage.contract.names import SYSTEM_NAMESPACE, image_shelf, namespace_for
from primage.contract.networks import Cidr
from primage.contract.outputs import Settings, SomeQuantity
from primage.contract.spelling import DnsLabel, VoName, like

WEB_PORT, WEB_PATH, DICOM_PORT = 8443, "/dicom-web", 2762
"""Of every shelf's Service: DICOMweb by HTTPS, and DICOM with TLS."""
USER, PASSWORD_KEY, AUTHORITY_KEY = "datasets", "password", "ca.crt"
"""Who services are to DICOMweb; of a shelf's Secret (`login_secret`) and of the archive's certificate, the keys to look at."""

AeTitle = Annotated[
    str, like(r"[A-Z0-9][A-Z0-9_.-]{0,15}", "an AE title: 16 capital letters, digits, dots, hyphens and underscores at most")
]


class SenderConfig(Settings):
    """A modality or another archive, by the AE title that it calls with."""

    title: AeTitle = Field(description="Its AE title.")
    may: tuple[Literal["store", "find", "get"], ...] = Field(
        default=("store",), min_length=1, description="What it may do beside C-ECHO, on this shelf alone."
    )


class ShelfConfig(Settings):
    """What the archive has for one VO."""

    vo: VoName = Field(description="The VO that what is sent here belongs to.")
    title: AeTitle = Field(description="AE title that senders call, which no other shelf has.")
    senders: tuple[SenderConfig, ...] = Field(default=(), description="Who may call it by DICOM; empty: nobody does.")
    node_port: int | None = Field(
        default=None,
        ge=30000,
        le=32767,
        description="Port on every node that leads to its DICOM; empty where something else leads to its Service, or nothing.",
    )

    @property
    def secret(self) -> str:
        """The Secret that has its password."""
        return login_secret(self.vo)


class OrthancConfig(Settings):
    """Orthanc on PostgreSQL: https://orthanc.uclouvain.be/book/"""

    kind: Literal["orthanc"] = Field(description="What keeps the images.")
    image: str = Field(default="primage/orthanc:1", min_length=1, description="Image of Orthanc (images/orthanc).")
    database_image: str = Field(
        default="primage/postgresql:1", min_length=1, description="Image of PostgreSQL (images/postgresql)."
    )
    proxy_image: str = Field(default="primage/web:1", min_length=1, description="Image of NGINX, which ends TLS (images/web).")
    index: KeptInFolder | KeptOnClaim = Field(
        discriminator="kind", description="Where it keeps what images it has; a folder belongs to user 10008."
    )
    images: KeptInFolder | KeptOnClaim = Field(
        discriminator="kind", description="Where it keeps the images; a folder belongs to user 10008."
    )
    memory: SomeQuantity = Field(default="512Mi", description="The most memory that the process of one shelf may take.")


class Dcm4cheeConfig(Settings):
    """DCM4CHEE arc-light with its LDAP server and its PostgreSQL, by images that the site names: this project has none."""

    kind: Literal["dcm4chee"] = Field(description="What keeps the images.")
    image: PinnedImage = Field(description="Image of the archive, by digest: …/dcm4che/dcm4chee-arc-psql@sha256:….")
    ldap_image: PinnedImage = Field(description="Image of its LDAP server, by digest: …/dcm4che/slapd-dcm4chee@sha256:….")
    database_image: PinnedImage = Field(description="Image of its PostgreSQL, by digest: …/dcm4che/postgres-dcm4chee@sha256:….")
    proxy_image: str = Field(
        default="primage/web:1", min_length=1, description="Image of NGINX, which ends TLS and asks for the password (images/web)."
    )
    stores: DnsLabel = Field(
        description="Secret in namespace primage-system with keystore.p12 (its certificate and key), truststore.p12 (what vouches "
        "for senders) and their password; cert-manager makes one."
    )
    index: KeptOnClaim = Field(description="Where its database and its configuration are.")
    images: KeptOnClaim = Field(description="Where it keeps the images.")
    memory: SomeQuantity = Field(default="4Gi", description="The most memory that the archive may take.")


class ImageArchiveConfig(Certified):
    """An archive of medical images, for the site's services alone, and for what sends it images."""

    server: OrthancConfig | Dcm4cheeConfig = Field(discriminator="kind", description="What keeps the images.")
    shelves: tuple[ShelfConfig, ...] = Field(min_length=1, description="What it has for each VO; a VO without one keeps no images.")
    host: str = Field(
        default="",
        max_length=253,
        description="Name or address that senders reach it by, for its certificate; empty where there are none.",
    )
    networks: tuple[Cidr, ...] = Field(
        default=(), description="Networks that senders' connections come from; empty: none but the site's own services reach it."
    )
    senders_authority: str = Field(
        default="",
        max_length=1024,
        description="File with the authorities whose certificates senders prove themselves with, PEM, relative to the repository; "
        "empty: the one that vouches for the archive itself.",
    )

    @property
    def certificate_secret(self) -> str:
        """The Secret that has its certificate."""
        return self.certificate or "image-archive-certificate"

    @property
    def hosts(self) -> list[str]:
        """What its certificate is for."""
        return [*(shelf_host(shelf.vo) for shelf in self.shelves), *([self.host] if self.host else [])]

    @model_validator(mode="after")
    def _apart(self) -> ImageArchiveConfig:
        problems = []
        for what in ("vo", "title", "node_port"):
            given = [value for shelf in self.shelves if (value := getattr(shelf, what)) is not None]
            problems += [f"two shelves have one {what}: {value}" for value in sorted(set(given)) if given.count(value) > 1]
        for shelf in self.shelves:
            titles = [sender.title for sender in shelf.senders]
            problems += [f"{shelf.vo} names sender {title} twice" for title in sorted(set(titles)) if titles.count(title) > 1]
            if shelf.node_port and not self.networks:
                problems.append(f"networks: is required with the node_port of {shelf.vo}: nobody else is let in there")
            if shelf.node_port and not shelf.senders:
                problems.append(f"the node_port of {shelf.vo} leads nowhere: it has no senders")
        if self.server.kind == "dcm4chee" and len(self.shelves) > 1:
            problems.append("shelves: DCM4CHEE has one here; name orthanc, or let each VO have a site's archive of its own")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def dicom_web(self, vo: str) -> str:
        """Where services find a VO's images: the address that QIDO-RS, WADO-RS and STOW-RS are below.

        Raises:
            StopIteration: the VO has no shelf.
        """
        shelf = next(shelf for shelf in self.shelves if shelf.vo == vo)
        return f"https://{shelf_host(shelf.vo)}:{WEB_PORT}{WEB_PATH}"


def shelf_host(vo: str) -> str:
    """Where the site's pods reach a VO's shelf."""
    return f"{image_shelf(namespace_for(vo))}.{SYSTEM_NAMESPACE}.svc"


def dicom_port_name(vo: str) -> str:
    """What the port of a VO's shelf is called in the pod: by number another's would be met while the pod changes."""
    return f"dicom-{hashlib.sha256(vo.encode()).hexdigest()[:9]}"


def login_secret(vo: str) -> str:
    """The Secret in the system's namespace with the password of a VO's shelf."""
    return image_shelf(namespace_for(vo))
