"""What every kind of shared volume has, whatever it is kept on."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from pydantic import Field

from primage.contract.outputs import Quantity, Settings

Source = dict[str, Any]
"""The part of a volume's specification that says where its data is, under the key of its kind (`hostPath`, `nfs`, `csi`)."""


class VolumeBackend(Settings):
    """One of the two volumes every VO has. Each kind is a module beside this one, with a `backend` of its own."""

    capacity: Quantity = Field(
        description="Size shown to users. For posix only the file system's own quotas enforce it: docs/how-to/limit-home.md."
    )

    @property
    @abstractmethod
    def place(self) -> str:
        """Where its data is, to tell it from another's: no two volumes of a site may lie in each other."""

    @abstractmethod
    def folder(self, below: str) -> Source:
        """The source of a PersistentVolume that is one folder of it."""

    @abstractmethod
    def whole(self) -> Source:
        """A pod's volume, without its name, that is all of it: where VOs' folders are made."""
