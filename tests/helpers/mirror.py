"""A mirror of official releases made of what this machine has built: the same names, other checksums.

`python tests/helpers/mirror.py FOLDER` fills FOLDER/mirror and writes FOLDER/pins; `python -m http.server` serves it.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path

from primage.local.toolchain.build import KUBE_ROUTER_TOOLS, KUBERNETES_TOOLS
from primage.local.toolchain.official import RELEASES, ReleaseFile


def fill(folder: Path) -> Path:
    """Put every built tool below its official name; returns the file of pins."""
    pins = []
    for tools in (KUBERNETES_TOOLS, KUBE_ROUTER_TOOLS):
        for tool in tools.tools:
            release = RELEASES[tool.name]
            content = _released((tools.directory / tool.name).read_bytes(), release)
            path = folder / "mirror" / release.place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            pins.append(f"{hashlib.sha256(content).hexdigest()}  {release.place}\n")
    (folder / "pins").write_text("".join(pins))
    return folder / "pins"


def _released(binary: bytes, release: ReleaseFile) -> bytes:
    if not release.member:
        return binary
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo(release.member)
        info.size, info.mode = len(binary), 0o755
        archive.addfile(info, io.BytesIO(binary))
    return packed.getvalue()


if __name__ == "__main__":
    print(fill(Path(sys.argv[1])))
