"""Building images offline: only what changed, one shared base layer, archives for the nodes' containerd."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from primage.local.images import storage
from primage.local.images.base import make_rootfs
from primage.local.images.catalogue import BASE, Image, base_on_nodes
from primage.paths import cache_dir
from primage.process import run_logged

TIMEOUT_S = 15 * 60


def ensure_images(
    images: Iterable[Image],
    *,
    repository: Path,
    log: Path,
    on_progress: Callable[[str], None] = lambda _: None,
    base: str = BASE,
) -> list[Path]:
    """Build the images whose content changed; returns the archives of those that nodes need.

    Args:
        base: the image that BASE_IMAGE names; another one than the default is expected to be pullable or present.
    """
    wanted = list(images)
    base_key = _ensure_base(repository, log, on_progress) if base == BASE else base
    archives = []
    for image in wanted:
        key = base_key if image.name == base else image.content_key(repository, base_key)
        archive = storage.archive_path(image.name, key)
        if storage.image_key(image.name) != key:
            on_progress(f"building {image.name}")
            _build(image, repository, key, base, log)
        if image.on_nodes:
            if not archive.exists():
                on_progress(f"writing {archive.name}")
                _export(image.name, archive, log)
            archives.append(archive)
    return archives


def _ensure_base(repository: Path, log: Path, on_progress: Callable[[str], None]) -> str:
    image = base_on_nodes()
    key = image.content_key(repository, "")
    if storage.image_key(image.name) != key:
        on_progress("making Debian's base system")
        rootfs = make_rootfs(log)
        on_progress(f"building {image.name}")
        _build(Image(**{**image.__dict__, "files": {"rootfs.tar": rootfs}}), repository, key, "", log)
    return key


def _build(image: Image, repository: Path, key: str, base: str, log: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="context-", dir=cache_dir()) as context:
        for name, path in image.files.items():
            if path.is_dir():
                shutil.copytree(path, Path(context) / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                _link_or_copy(path, Path(context) / name)
        arguments = dict(image.arguments)
        if image.based_on_base:
            arguments["BASE_IMAGE"] = base
        run_logged(
            ["buildah", "bud", "--quiet", "--layers=false", "--format", "docker", "--label", f"eu.primage.key={key}"]
            + [f"--build-arg={name}={value}" for name, value in arguments.items()]
            + ["--tag", image.name, "--file", str(repository / image.folder / "Containerfile"), context],
            env=storage.environment(),
            log=log,
            timeout_s=TIMEOUT_S,
        )


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _export(name: str, archive: Path, log: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    for old in archive.parent.glob(archive.name.rsplit("-", 1)[0] + "-*.tar"):
        old.unlink()
    part = archive.with_suffix(f".{time.monotonic_ns()}.part")
    run_logged(
        ["buildah", "push", "--quiet", name, f"docker-archive:{part}:{name}"],
        env=storage.environment(),
        log=log,
        timeout_s=TIMEOUT_S,
    )
    part.rename(archive)
