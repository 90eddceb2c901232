"""Images into the site's registry: each once, by layer, and written down by the digest it has there."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from primage.clients.registry import Manifest, Registry
from primage.contract.images import OWN, parse_references
from primage.errors import ExitCode, PrimageError
from primage.local.images import storage
from primage.local.images.catalogue import Image, built_as
from primage.paths import local_site_dir
from primage.process import run_logged

TIMEOUT_S = 15 * 60
RESERVED = (OWN, "registry.k8s.io/")
"""What `primage site local up` pushes; an operator's own images have other names."""
_NAME = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?")
_guard = threading.Lock()


@dataclass(frozen=True)
class SiteRegistry:
    """The local site's registry, as role `registry` left the way to it on this host.

    Attributes:
        address: host and port.
        folder: with the operators' login and the authority's certificate.
        references: file that the digests are written to; Pulumi.local.yaml names it.
    """

    address: str
    folder: Path
    references: Path

    @property
    def options(self) -> list[str]:
        """For podman and buildah: who pushes, and who vouches for the registry. No password is an argument."""
        return [f"--authfile={self.folder / 'push.json'}", f"--cert-dir={self.folder / 'certs'}"]

    @property
    def environment(self) -> dict[str, str]:
        """The registry is a machine of this host, whatever proxy leads out of it."""
        host = self.address.partition(":")[0]
        return {name: ",".join(filter(None, [os.environ.get(name), host])) for name in ("NO_PROXY", "no_proxy")}

    def client(self) -> Registry:
        """To ask what it has."""
        return Registry(self.address, self.folder / "push.json", self.folder / "certs" / "ca.crt")


def site_registry(address: str) -> SiteRegistry:
    """The local site's, at this address."""
    return SiteRegistry(address, local_site_dir() / "registry", local_site_dir() / "images.json")


def push_images(
    images: Iterable[Image], registry: SiteRegistry, *, log: Path, on_progress: Callable[[str], None] = lambda _: None
) -> dict[str, str]:
    """Push those that nodes run and the registry has not yet; returns all known references, by name."""
    ids = storage.image_ids()
    found = {}
    for image in images:
        if not image.on_nodes:
            continue
        repository, tag = _split(image.name)
        there = registry.client().manifest(repository, tag)
        if there is None or there.config != f"sha256:{ids[built_as(image.name)]}":
            on_progress(f"pushing {image.name}")
            there = _push(built_as(image.name), repository, tag, registry, storage.environment(), log)
        found[image.name] = f"{registry.address}/{repository}@{there.digest}"
    return _write_down(found, registry)


def known_references(registry: SiteRegistry) -> dict[str, str]:
    """What was pushed so far, by name; nothing where the file is not there or cannot be read, so that the next push writes it."""
    try:
        return parse_references(registry.references.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def push_own(image: str, name: str, registry: SiteRegistry, log: Path) -> str:
    """Push an image of the host's own store, as podman and buildah build them; returns the reference that settings may name.

    Args:
        name: what it is called in the registry, with its tag; empty for its own name.

    Raises:
        PrimageError: the name is one of the site's own images, or no name at all, or the image cannot be pushed.
    """
    called = name or image.removeprefix("localhost/")
    if not _NAME.fullmatch(called) or called.startswith(RESERVED):
        reserved = called.startswith(RESERVED)
        raise PrimageError(
            f"{called} names an image of the site itself" if reserved else f"{called!r} cannot be an image's name in the registry",
            todo="give it another with --as, such as --as myteam/segment:3",
            code=ExitCode.USAGE,
        )
    repository, tag = _split(called)
    pushed = _push(image, repository, tag, registry, {}, log)
    return f"{registry.address}/{repository}@{pushed.digest}"


def _push(image: str, repository: str, tag: str, registry: SiteRegistry, environment: Mapping[str, str], log: Path) -> Manifest:
    # Not compressed: the registry is on this machine, and packing and unpacking take far longer than the way.
    push = ["buildah", "push", "--quiet", "--disable-compression", *registry.options]
    run_logged(
        [*push, image, f"docker://{registry.address}/{repository}:{tag}"],
        env={**environment, **registry.environment},
        log=log,
        timeout_s=TIMEOUT_S,
    )
    pushed = registry.client().manifest(repository, tag)
    if pushed is None:
        raise PrimageError(f"the registry has not kept {repository}:{tag}", where=str(log), todo="push it again")
    return pushed


def _split(name: str) -> tuple[str, str]:
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon else (tag, "latest")


def _write_down(found: Mapping[str, str], registry: SiteRegistry) -> dict[str, str]:
    """Add references to the file: other steps push at the same time."""
    with _guard:
        known = known_references(registry)
        merged = {**known, **found}
        if merged != known:
            path = registry.references
            part = path.with_suffix(".part")
            part.write_text(json.dumps(dict(sorted(merged.items())), indent=1) + "\n", encoding="utf-8")
            part.replace(path)
        return merged
