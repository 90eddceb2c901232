"""The images of a site: what each is called, what goes into it, and what it is based on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from primage.local.toolchain.versions import COREDNS, ETCD, KUBERNETES, PAUSE

BASE = "localhost/primage/base:1"
MACHINE = "localhost/primage/machine:1"
QUEUE = "localhost/primage/queue:1"
HPC_CONNECTOR = "localhost/primage/hpc-connector:1"
STUDY = "localhost/primage/study-histology:1"
KUBE_ROUTER = "localhost/primage/kube-router:1"
WEB = "localhost/primage/web:1"


@dataclass(frozen=True)
class Image:
    """One image.

    Attributes:
        name: full reference, as manifests and kubeadm name it.
        folder: the folder under the repository with its Containerfile.
        files: what the build context holds, by name in it: a file or a folder.
        arguments: build arguments.
        based_on_base: whether BASE_IMAGE applies.
        on_nodes: whether cluster nodes need it (an archive is written for them).
    """

    name: str
    folder: str
    files: dict[str, Path] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    based_on_base: bool = True
    on_nodes: bool = True

    def content_key(self, repository: Path, base_key: str) -> str:
        """Twelve hex digits that change whenever anything that goes into the image does."""
        digest = hashlib.sha256()
        digest.update(json.dumps([self.name, sorted(self.arguments.items()), base_key * self.based_on_base]).encode())
        digest.update((repository / self.folder / "Containerfile").read_bytes())
        for name, path in sorted(self.files.items()):
            for item in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if item.is_file() and "__pycache__" not in item.parts:
                    digest.update(f"{name}/{item.relative_to(path)}".encode())
                    with item.open("rb") as stream:
                        digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()[:12]


def kubernetes_images(tools: Path) -> list[Image]:
    """The images `kubeadm config images list` names, each made from the binary in folder `tools`."""
    named = {
        "kube-apiserver": f"registry.k8s.io/kube-apiserver:{KUBERNETES}",
        "kube-controller-manager": f"registry.k8s.io/kube-controller-manager:{KUBERNETES}",
        "kube-scheduler": f"registry.k8s.io/kube-scheduler:{KUBERNETES}",
        "etcd": f"registry.k8s.io/etcd:{ETCD.removeprefix('v')}-0",
    }
    images = [
        Image(
            name=name,
            folder="images/kubernetes",
            files={"binary": tools / binary},
            arguments={"BINARY": binary},
            based_on_base=False,
        )
        for binary, name in named.items()
    ]
    images.append(
        Image(
            name=f"registry.k8s.io/kube-proxy:{KUBERNETES}",
            folder="images/kube-proxy",
            files={"kube-proxy": tools / "kube-proxy"},
        )
    )
    images.append(
        Image(
            name=f"registry.k8s.io/coredns/coredns:{COREDNS}",
            folder="images/coredns",
            files={"coredns": tools / "coredns"},
            based_on_base=False,
        )
    )
    images.append(Image(name=f"registry.k8s.io/pause:{PAUSE}", folder="images/pause"))
    return images


def kube_router_image(tools: Path) -> Image:
    """What enforces network policies and keeps pods' routes on each node (role cluster_network)."""
    return Image(name=KUBE_ROUTER, folder="images/kube-router", files={"kube-router": tools / "kube-router"})


def machine_image(repository: Path) -> Image:
    """The image podman machines are made from."""
    folder = "images/machine"
    return Image(name=MACHINE, folder=folder, files={"init.sh": repository / folder / "init.sh"}, on_nodes=False)


def base_on_nodes() -> Image:
    """The base itself, which jobs may name as their image."""
    from primage.local.images.base import rootfs_key

    return Image(name=BASE, folder="images/base", arguments={"ROOTFS": rootfs_key()}, based_on_base=False)


def _contract(repository: Path, folder: str) -> dict[str, Path]:
    """What a service shares with this package, below `folder`: `primage.contract`, and nothing else of it."""
    package = repository / "primage"
    return {f"{folder}/primage/contract": package / "contract", f"{folder}/primage/__init__.py": package / "__init__.py"}


QUEUE_REQUIREMENTS = "services/htc_queue/requirements.txt"
HPC_REQUIREMENTS = "services/hpc_connector/requirements.txt"
STUDY_REQUIREMENTS = "apps/study-histology/requirements.txt"
NOTEBOOK_REQUIREMENTS = "images/notebook/requirements.txt"


def app_images(repository: Path, libraries: Callable[[Path], Path]) -> list[Image]:
    """The images of applications and services.

    Args:
        libraries: a folder with the libraries that a requirements file pins (images/wheels.py).
    """
    service = repository / "services" / "htc_queue"
    queue = {
        "primage-queue/bin": service / "bin",
        "primage-queue/lib": libraries(repository / QUEUE_REQUIREMENTS),
        "primage-queue/lib/htc_queue": service / "htc_queue",
    }
    study = {
        "site-packages": libraries(repository / STUDY_REQUIREMENTS),
        "overrides.json": repository / "images" / "study-histology" / "overrides.json",
        "notebook": libraries(repository / NOTEBOOK_REQUIREMENTS),
        "study_histology": repository / "apps" / "study-histology" / "package" / "study_histology",
    }
    connector = {
        "lib": libraries(repository / HPC_REQUIREMENTS),
        "lib/hpc_connector": repository / "services" / "hpc_connector" / "hpc_connector",
        **_contract(repository, "lib"),
    }
    return [
        Image(name=HPC_CONNECTOR, folder="images/hpc-connector", files=connector),
        Image(name=QUEUE, folder="images/queue", files=queue),
        Image(name=STUDY, folder="images/study-histology", files={**study, **queue}),
        Image(name=WEB, folder="images/web"),
    ]
