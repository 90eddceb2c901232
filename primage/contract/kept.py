"""Where a server of the site's own keeps what it may not lose."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from primage.contract.outputs import Quantity, Settings
from primage.contract.spelling import AbsolutePath, DnsLabel


class KeptInFolder(Settings):
    """A folder that every node has under the same path."""

    kind: Literal["folder"] = Field(description="What it is kept on.")
    path: AbsolutePath = Field(description="The folder, which belongs to the server's user and to nobody else.")


class KeptOnClaim(Settings):
    """A volume that the cluster makes."""

    kind: Literal["claim"] = Field(description="What it is kept on.")
    storage_class: DnsLabel = Field(description="StorageClass of a disk that no two nodes write at a time.")
    size: Quantity = Field(default="5Gi", description="Its size.")
