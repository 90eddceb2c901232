"""What shared volumes are kept on: a module for each kind, and `Volume`, the one table that picks among them.

Another kind is a module with its settings, `backend` among them, and how Kubernetes mounts it; and its name in `Volume`.
None of this needs Pulumi, so that `primage validate` reads it too.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from primage.contract.volumes.backend import Source, VolumeBackend
from primage.contract.volumes.posix import PosixVolume

__all__ = ["PosixVolume", "Source", "Volume", "VolumeBackend"]


def _posix_unless_named(value: Any) -> Any:
    return {"backend": "posix", **value} if isinstance(value, dict) else value


Volume = Annotated[PosixVolume, Field(discriminator="backend"), BeforeValidator(_posix_unless_named)]
"""Any kind: `Kind | Kind | …`, told apart by `backend`."""
