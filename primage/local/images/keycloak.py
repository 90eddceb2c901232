"""Keycloak's own distribution, as Maven repositories have it: fetched once, checked by its SHA-256, unpacked into the cache."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from pathlib import Path

from primage.errors import PrimageError
from primage.local.turn import turn
from primage.paths import cache_dir
from primage.process import run_logged

VERSION = "26.4.7"
SHA256 = "dd9834c023460be856f731423d86228c23b5d002194a2064642bec0cc6573eaa"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
TIMEOUT_S = 15 * 60


def distributions_dir() -> Path:
    """The cache folder with a folder for each server that comes as an archive, named after its version."""
    return cache_dir() / "distributions"


def keycloak_distribution(log: Path) -> Path:
    """The unpacked folder, 160 MB.

    Raises:
        PrimageError: what was fetched is not what was pinned.
    """
    target = distributions_dir() / f"keycloak-{VERSION}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with turn(target):
            if not target.is_dir():
                _fetch(target, log)
    return target


def _fetch(target: Path, log: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="keycloak-", dir=target.parent) as folder:
        run_logged(
            ["mvn", "--quiet", "--batch-mode", COPY, f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}"],
            cwd=Path(folder),
            log=log,
            timeout_s=TIMEOUT_S,
        )
        archive = Path(folder) / f"keycloak-quarkus-dist-{VERSION}.zip"
        with archive.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != SHA256:
            raise PrimageError(
                f"{archive.name} has the SHA-256 {found}, and {SHA256} is pinned",
                todo="remove it from ~/.m2 and try again; if it is the same then, do not use that Maven repository",
            )
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        unpacked = Path(folder) / f"keycloak-{VERSION}"
        # zipfile does not keep modes.
        for script in (unpacked / "bin").glob("*.sh"):
            script.chmod(0o755)
        shutil.move(unpacked, target)
