"""A folder that every node has mounted under the same path (CephFS, NFS, Lustre, or the host's disk locally)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from primage.contract.spelling import AbsolutePath
from primage.contract.volumes.backend import Source, VolumeBackend


class PosixVolume(VolumeBackend):
    """A folder that every node has mounted under the same path (CephFS, NFS, Lustre, or the host's disk locally)."""

    backend: Literal["posix"] = Field(default="posix", description="What the volume is kept on.")
    path: AbsolutePath = Field(description="Folder on every node; each VO has a folder of its own below it.")

    @property
    def place(self) -> str:
        """The folder."""
        return self.path

    def folder(self, below: str) -> Source:
        """`Directory`: the authorizer has made it with the VO's group. A folder that kubelet made would be root's."""
        return {"hostPath": {"path": f"{self.path}/{below}", "type": "Directory"}}

    def whole(self) -> Source:
        """The folder itself, which the nodes must have."""
        return {"hostPath": {"path": self.path, "type": "Directory"}}
