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
REPLICA_SET, MEMBERS = "records", 3


class FerretDbConfig(Settings):
    """FerretDB on SQLite: one process, for a site that has no images of MongoDB."""

    kind: Literal["ferretdb"] = Field(description="What keeps the records.")
    image: str = Field(default="primage/ferretdb:1", min_length=1, description="Image of FerretDB (images/ferretdb).")
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

    server: FerretDbConfig | MongoDbConfig = Field(discriminator="kind", description="What keeps the records.")

    @property
    def certificate_secret(self) -> str:
        """The Secret that has its certificate."""
        return self.certificate or "clinical-records-certificate"

    @property
    def members(self) -> list[str]:
        """The servers, as the service reaches them."""
        service = f"{CLINICAL_RECORDS}.{SYSTEM_NAMESPACE}.svc"
        if isinstance(self.server, FerretDbConfig):
            return [service]
        return [f"{CLINICAL_RECORDS}-{number}.{service}" for number in range(MEMBERS)]

    @property
    def url(self) -> str:
        """Where the service connects to; it adds who it is, its password and the authority."""
        replica_set = "" if isinstance(self.server, FerretDbConfig) else f"&replicaSet={REPLICA_SET}"
        return f"mongodb://{','.join(f'{host}:{PORT}' for host in self.members)}/?tls=true&authSource={AUTH_SOURCE}{replica_set}"
