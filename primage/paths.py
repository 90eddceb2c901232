"""Where things are kept, outside the checkout: caches survive `make down`, site data and state do not.

| what | default | variable |
| --- | --- | --- |
| caches: built tools, image layers, wheels | `/var/cache/primage` (root), `~/.cache/primage` | `PRIMAGE_CACHE` |
| a local site's data, engine state, logs | `/var/lib/primage` (root), `~/.local/share/primage` | `PRIMAGE_HOME` |
"""

from __future__ import annotations

import os
from pathlib import Path

from primage.errors import ExitCode, PrimageError


def _root() -> bool:
    return os.geteuid() == 0


def cache_dir() -> Path:
    """Folder for what can be built again."""
    default = "/var/cache/primage" if _root() else "~/.cache/primage"
    return Path(os.environ.get("PRIMAGE_CACHE", default)).expanduser()


def home_dir() -> Path:
    """Folder for what belongs to the sites and stacks operated from this machine."""
    default = "/var/lib/primage" if _root() else "~/.local/share/primage"
    return Path(os.environ.get("PRIMAGE_HOME", default)).expanduser()


def local_site_dir() -> Path:
    """Everything the local site owns on this machine; removed by `primage site local down`."""
    return home_dir() / "local"


def state_dir() -> Path:
    """The embedded engine's state files, one folder a project."""
    return home_dir() / "state"


def log_dir() -> Path:
    """One log file a step of standing up the local site."""
    return home_dir() / "log"


def named_file(path: str) -> Path:
    """A file or folder that settings name, relative to the repository, with `~` read as the home folder."""
    return repository_root() / Path(path).expanduser()


def repository_root() -> Path:
    """The checkout: the nearest folder, from here upwards, that has the site program's `Pulumi.yaml` and `infra/`.

    Raises:
        PrimageError: when called from outside a checkout.
    """
    start = Path(os.environ.get("PRIMAGE_REPOSITORY", Path.cwd())).resolve()
    for folder in (start, *start.parents):
        if (folder / "Pulumi.yaml").is_file() and (folder / "infra").is_dir():
            return folder
    raise PrimageError(
        f"{start} is not inside a primage repository",
        todo="change to the folder that has Pulumi.yaml and infra/, or set PRIMAGE_REPOSITORY to it",
        code=ExitCode.UNSUPPORTED,
    )
