"""The operator's Secrets, as the pod has them mounted: kubelet brings them up to date within a minute or two."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

Source = dict[str, str]
"""A Secret's keys and values, in Base64."""


@dataclass(frozen=True)
class Sources:
    """Folders, a file for each key; None for what the site has not.

    Attributes:
        storage: with what tenants reach storage.
        pull: with what they pull images.
    """

    storage: Path | None = None
    pull: Path | None = None

    def read(self) -> tuple[Source | None, Source | None]:
        """Of both: what there is now; nothing in it where an operator has not made it yet."""
        return _read(self.storage), _read(self.pull)


def _read(folder: Path | None) -> Source | None:
    if folder is None:
        return None
    # What begins so is kubelet's own: https://kubernetes.io/docs/concepts/storage/projected-volumes
    files = [path for path in folder.glob("*") if not path.name.startswith("..") and path.is_file()]
    return {path.name: base64.b64encode(path.read_bytes()).decode() for path in files}
