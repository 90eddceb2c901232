"""Official release files in place of compiling: taken where they are pinned and served, built from source elsewhere.

Pins are a file in the format of `sha256sum`, whose names are the official URLs without `https://`. `PRIMAGE_PINS` names it, and
`PRIMAGE_MIRROR` a server that has the same files below the same names.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from primage.clients.downloads import NotServedError, WrongDigestError, download
from primage.errors import ExitCode, PrimageError
from primage.local.toolchain.versions import COREDNS, ETCD, KUBE_ROUTER, KUBERNETES, OAUTH2_PROXY
from primage.paths import cache_dir

_LINE = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9][A-Za-z0-9./_+-]*)")
MOST_CHARACTERS = 1_000_000


ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class ReleaseFile:
    """Where a tool's release is published.

    Attributes:
        place: its URL without the scheme, which is also its path below a mirror.
        member: the binary in it, where it is a tar archive.
    """

    place: str
    member: str = ""


def _kubernetes(name: str) -> ReleaseFile:
    return ReleaseFile(f"dl.k8s.io/release/{KUBERNETES}/bin/linux/{ARCHITECTURE}/{name}")


RELEASES: dict[str, ReleaseFile] = {
    **{
        name: _kubernetes(name)
        for name in (
            *("kubeadm", "kubectl", "kubelet"),
            *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
        )
    },
    "etcd": ReleaseFile(
        f"github.com/etcd-io/etcd/releases/download/{ETCD}/etcd-{ETCD}-linux-{ARCHITECTURE}.tar.gz",
        f"etcd-{ETCD}-linux-{ARCHITECTURE}/etcd",
    ),
    "coredns": ReleaseFile(
        f"github.com/coredns/coredns/releases/download/{COREDNS}/coredns_{COREDNS.removeprefix('v')}_linux_{ARCHITECTURE}.tgz",
        "coredns",
    ),
    "kube-router": ReleaseFile(
        f"github.com/cloudnativelabs/kube-router/releases/download/{KUBE_ROUTER}/"
        f"kube-router_{KUBE_ROUTER.removeprefix('v')}_linux_{ARCHITECTURE}.tar.gz",
        "kube-router",
    ),
    "oauth2-proxy": ReleaseFile(
        f"github.com/oauth2-proxy/oauth2-proxy/releases/download/{OAUTH2_PROXY}/"
        f"oauth2-proxy-{OAUTH2_PROXY}.linux-{ARCHITECTURE}.tar.gz",
        f"oauth2-proxy-{OAUTH2_PROXY}.linux-{ARCHITECTURE}/oauth2-proxy",
    ),
}
"""By the tool's name."""


@dataclass(frozen=True)
class Source:
    """Where release files come from.

    Attributes:
        server: what a file's place is appended to.
        pins: SHA-256 by place.
    """

    server: str
    pins: dict[str, str]

    def why_not(self, name: str) -> str:
        """Why a tool cannot be taken, as far as can be told without asking a server; empty when it can be."""
        if not self.pins:
            return "PRIMAGE_PINS names no file of release files' checksums"
        if name not in RELEASES:
            return "it has no official release file"
        return "" if RELEASES[name].place in self.pins else f"{RELEASES[name].place} is not pinned"

    def take(self, name: str, target: Path, on_bytes: Callable[[int], None]) -> None:
        """Put a tool's binary in place.

        Raises:
            NotServedError: the server does not answer within seconds, or has no such file.
            PrimageError: the server has another file than the one that was pinned.
        """
        release = RELEASES[name]
        with tempfile.TemporaryDirectory(prefix="release-", dir=cache_dir()) as folder:
            fetched = Path(folder) / "fetched"
            download(self.server + release.place, fetched, self.pins[release.place], on_bytes)
            binary = _extracted(fetched, release, Path(folder)) if release.member else fetched
            target.parent.mkdir(parents=True, exist_ok=True)
            binary.chmod(0o755)
            part = target.with_suffix(f".{os.getpid()}.part")
            shutil.move(binary, part)
            part.replace(target)


def take_releases(source: Source, names: list[str], directory: Path, on_progress: Callable[[str], None]) -> dict[str, str]:
    """Take what can be had; returns the others, each with the reason. A server that does not answer is asked once.

    Raises:
        WrongDigestError: the server has another file than the one that was pinned.
    """
    left: dict[str, str] = {}
    silent = ""
    for name in names:
        why = source.why_not(name) or silent
        if not why:
            try:
                source.take(name, directory / name, lambda size, name=name: on_progress(f"{name}: {size >> 20} MiB"))  # type: ignore[misc]
            except NotServedError as error:
                why = str(error)
                silent = "" if error.answered else why
        if why:
            left[name] = why
    return left


def source() -> Source:
    """The source that the environment names.

    Raises:
        PrimageError: there is no such file of pins, it is not one, or the mirror is not a URL.
    """
    mirror, file = os.environ.get("PRIMAGE_MIRROR", ""), os.environ.get("PRIMAGE_PINS", "")
    if mirror and not re.match(r"https?://[^/]+", mirror):
        raise PrimageError(
            f"{mirror!r} is not the URL of a mirror", where="PRIMAGE_MIRROR", todo="write https://…", code=ExitCode.USAGE
        )
    return Source(f"{mirror.rstrip('/')}/" if mirror else "https://", read_pins(Path(file)) if file else {})


def read_pins(path: Path) -> dict[str, str]:
    """SHA-256 by place; lines that begin with `#` are comments.

    Raises:
        PrimageError: it cannot be read, or a line is not one of `sha256sum`.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"it has more than {MOST_CHARACTERS} characters")
    except (OSError, ValueError) as error:
        raise PrimageError(
            f"the pins of release files cannot be read: {error}", where="PRIMAGE_PINS", todo="name a file", code=ExitCode.USAGE
        ) from error
    pins = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise PrimageError(
                f"{line!r} is not a line of sha256sum: 64 hex digits, two spaces, a URL without https://",
                where=f"{path}, line {number}",
                todo="correct it",
                code=ExitCode.INVALID,
            )
        pins[found[2]] = found[1]
    return pins


def _extracted(archive: Path, release: ReleaseFile, folder: Path) -> Path:
    """One file of an archive whose digest has been checked; nothing else of it is written."""
    try:
        with tarfile.open(archive) as packed:
            stream = packed.extractfile(release.member)
            if stream is None:
                raise KeyError(release.member)
            with (folder / "binary").open("wb") as out:
                shutil.copyfileobj(stream, out)
    except (KeyError, tarfile.TarError, OSError) as error:
        raise WrongDigestError(f"{release.place} does not hold {release.member}: {error}", todo="pin the official file") from error
    return folder / "binary"
