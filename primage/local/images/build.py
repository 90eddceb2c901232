"""Building images offline: only what changed, each on one that others share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from primage.local.images import storage
from primage.local.images.base import make_rootfs
from primage.local.images.catalogue import BASE, SCRATCH, Image, base_image, built_as
from primage.paths import cache_dir
from primage.process import run_logged

TIMEOUT_S = 15 * 60


def ensure_images(
    images: Iterable[Image], *, repository: Path, log: Path, on_progress: Callable[[str], None] = lambda _: None
) -> None:
    """Build the images whose content changed, and the base first; one that another is based on comes before it."""
    keys = {SCRATCH: "", BASE: _ensure_base(repository, log, on_progress)}
    built = False
    for image in images:
        if image.name in keys:
            continue
        keys[image.name] = key = image.content_key(repository, keys[image.base])
        if storage.image_key(built_as(image.name)) != key:
            on_progress(f"building {image.name}")
            _build(image, repository, key, log)
            built = True
    if built:
        _remove_earlier(log)


def _ensure_base(repository: Path, log: Path, on_progress: Callable[[str], None]) -> str:
    image = base_image()
    key = image.content_key(repository, "")
    if storage.image_key(built_as(image.name)) != key:
        on_progress("making Debian's base system")
        rootfs = make_rootfs(log)
        on_progress(f"building {image.name}")
        _build(replace(image, files={"rootfs.tar": rootfs}), repository, key, log)
    return key


def _remove_earlier(log: Path) -> None:
    """What an image was before it was built again; podman leaves alone what a machine was made from."""
    run_logged(["podman", "image", "prune", "--force"], env=storage.environment(), log=log, timeout_s=TIMEOUT_S)


def _build(image: Image, repository: Path, key: str, log: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="context-", dir=cache_dir()) as context:
        for name, path in image.files.items():
            target = Path(context) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(path, target, ignore=left_out, copy_function=_link_or_copy)
            else:
                _link_or_copy(path, target)
        arguments = dict(image.arguments)
        if image.base != SCRATCH:
            arguments["BASE_IMAGE"] = built_as(image.base)
        run_logged(
            ["buildah", "bud", "--quiet", "--layers=false", "--format", "docker", "--label", f"eu.primage.key={key}"]
            + [f"--build-arg={name}={value}" for name, value in arguments.items()]
            + ["--tag", built_as(image.name), "--file", str(repository / image.folder / "Containerfile"), context],
            env=storage.environment(),
            log=log,
            timeout_s=TIMEOUT_S,
        )


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    """A build context is read and thrown away: links take neither time nor room."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
