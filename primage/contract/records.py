"""The site's clinical records: a server of MongoDB's protocol, and where services find it.

https://www.mongodb.com/docs/manual/reference/connection-string/
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from primage.contract.certified import Certified
from primage.contract.guacamole import PinnedImage
from primage.contract.kept import KeptInFolder, KeptOnClaim
from primage.contract.names import CLINICAL_RECORDS, SYSTEM_NAMESPACE
from primage.contract.outputs import Settings, SomeQuantity
from primage.contract.spelling import like

PORT = 27017
USER, DATABASE, AUTH_SOURCE = "datasets", "datasets", "admin"
"""Who the one service is that logs in, what it may read and write, and the database that knows it."""
PASSWORD_KEY, AUTHORITY_KEY = "password", "ca.crt"  # keys in Secrets
"""In Secret CLINICAL_RECORDS that user's password; in the server's certificate, what vouches for it."""
CLIENT_SECRET, CLIENT_KEY = "clinical-records-client", "client.pem"  # the name of a Secret, and a key in it
"""Where a server knows no passwords: the certificate, with its key, that the service shows."""
REPLICA_SET, MEMBERS = "records", 3


class FerretDbConfig(Settings):
    """FerretDB on SQLite: one process, for a site that has no images of MongoDB."""

    kind: Literal["ferretdb"] = Field(description="What keeps the records.")
    image: str = Field(default="primage/ferretdb:1", min_length=1, description="Image of FerretDB (images/ferretdb).")
    kept: KeptInFolder | KeptOnClaim = Field(
        discriminator="kind", description="Where the records are; a folder belongs to user 10009."
    )
    memory: SomeQuantity = Field(default="512Mi", description="The most memory that it may take.")


class Nx27017Config(Settings):
    """NX-27017 on SQLite: one process, behind a certificate in place of a login; quicker with many records than FerretDB."""

    kind: Literal["nx-27017"] = Field(description="What keeps the records.")
    image: str = Field(default="primage/nx-27017:1", min_length=1, description="Image of NX-27017 and stunnel (images/nx-27017).")
    kept: KeptInFolder | KeptOnClaim = Field(
        discriminator="kind", description="Where the records are; a folder belongs to user 10009."
    )
    memory: SomeQuantity = Field(default="512Mi", description="The most memory that it may take.")


class BackupConfig(Settings):
    """A dump of everything, again and again."""

    schedule: Annotated[str, like(r"[0-9*/,-]+( [0-9*/,-]+){4}", "five fields of cron, such as 30 2 * * *")] = Field(
        default="30 2 * * *", description="When, as cron has it, in UTC."
    )
    kept: KeptOnClaim = Field(description="Where dumps are: on another disk than the records.")
    days: int = Field(default=30, ge=1, le=3650, description="After how many days a dump is removed.")


class MongoDbConfig(Settings):
    """A replica set of MongoDB, by an image that the site names: this project has none of it."""

    kind: Literal["mongodb"] = Field(description="What keeps the records.")
    image: PinnedImage = Field(description="Image of MongoDB with its tools, by digest: …/mongo@sha256:….")
    kept: KeptOnClaim = Field(description="Where each member of the set has the records.")
    memory: SomeQuantity = Field(default="4Gi", description="The most memory that a member may take.")
    backup: BackupConfig = Field(description="When they are dumped, and where to.")


class RecordsConfig(Certified):
    """A database of clinical records, for one service alone."""

    server: FerretDbConfig | Nx27017Config | MongoDbConfig = Field(discriminator="kind", description="What keeps the records.")

    @property
    def certificate_secret(self) -> str:
        """The Secret that has its certificate."""
        return self.certificate or "clinical-records-certificate"

    @property
    def logs_in(self) -> bool:
        """Whether the service logs in; otherwise it shows a certificate (CLIENT_SECRET)."""
        return not isinstance(self.server, Nx27017Config)

    @property
    def members(self) -> list[str]:
        """The servers, as the service reaches them."""
        service = f"{CLINICAL_RECORDS}.{SYSTEM_NAMESPACE}.svc"
        if not isinstance(self.server, MongoDbConfig):
            return [service]
        return [f"{CLINICAL_RECORDS}-{number}.{service}" for number in range(MEMBERS)]

    @property
    def url(self) -> str:
        """Where the service connects to; it adds the authority, and who it is with its password, or its certificate.

        A write is acknowledged when it is on the disk.
        """
        login = f"&authSource={AUTH_SOURCE}" if self.logs_in else ""
        replica_set = (
            f"&replicaSet={REPLICA_SET}&w=majority" if isinstance(self.server, MongoDbConfig) else "&directConnection=true"
        )
        hosts = ",".join(f"{host}:{PORT}" for host in self.members)
        return f"mongodb://{hosts}/?tls=true&journal=true{login}{replica_set}"
