"""The images of a site: what each is called, what goes into it, and what it is based on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from primage.contract.images import ON_DEMAND, OWN
from primage.local.images.keycloak import distributions_dir
from primage.local.images.wheels import wheels_dir
from primage.local.toolchain.versions import COREDNS, ETCD, KUBERNETES, PAUSE

BASE = "primage/base:1"
MACHINE = "primage/machine:1"
QUEUE = "primage/queue:1"
QUEUE_LIBRARIES = "primage/queue-libraries:1"
HPC_CONNECTOR = "primage/hpc-connector:1"
HPC_CONNECTOR_LIBRARIES = "primage/hpc-connector-libraries:1"
AUTHORIZER = "primage/authorizer:1"
AUTHORIZER_LIBRARIES = "primage/authorizer-libraries:1"
PORTAL = "primage/portal:1"
PORTAL_LIBRARIES = "primage/portal-libraries:1"
STUDY = "primage/study-histology:1"
STUDY_LIBRARIES = "primage/study-libraries:1"
KUBE_ROUTER = "primage/kube-router:1"
WEB = "primage/web:1"
DESKTOP = "primage/desktop:1"
KEYCLOAK = "primage/keycloak:1"
POSTGRESQL = "primage/postgresql:1"
CONTOUR = "primage/contour:1"
ENVOY = "primage/envoy:1"
OAUTH2_PROXY = "primage/oauth2-proxy:1"
ORTHANC = "primage/orthanc:1"
FERRETDB = "primage/ferretdb:1"
NX_27017 = "primage/nx-27017:1"
SCRATCH = ""
"""What an image is based on that is based on nothing."""


def built_as(name: str) -> str:
    """The reference of an image in buildah's and podman's store on this host."""
    return f"localhost/{name}" if name.startswith(OWN) else name


@dataclass(frozen=True)
class Image:
    """One image.

    Attributes:
        name: as settings name it, or as kubeadm does.
        folder: the folder under the repository with its Containerfile.
        files: what the build context holds, by name in it: a file or a folder.
        arguments: build arguments.
        base: name of the image it is based on, its BASE_IMAGE.
        on_nodes: whether nodes run it, so that it is pushed to the site's registry.
    """

    name: str
    folder: str
    files: dict[str, Path] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    base: str = BASE
    on_nodes: bool = True

    def content_key(self, repository: Path, base_key: str) -> str:
        """Twelve hex digits that change whenever anything that goes into the image does.

        What is unpacked in the cache has a name that says what it is, and is not read.
        """
        digest = hashlib.sha256()
        digest.update(json.dumps([built_as(self.name), sorted(self.arguments.items()), base_key]).encode())
        digest.update((repository / self.folder / "Containerfile").read_bytes())
        for name, path in sorted(self.files.items()):
            if path.parent in (wheels_dir(), distributions_dir()):
                digest.update(f"{name}/{path.name}".encode())
                continue
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
            base=SCRATCH,
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
            base=SCRATCH,
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


def base_image() -> Image:
    """The base itself, which jobs may name as their image."""
    from primage.local.images.base import rootfs_key

    return Image(name=BASE, folder="images/base", arguments={"ROOTFS": rootfs_key()}, base=SCRATCH)


def _contract(repository: Path) -> dict[str, Path]:
    """What a service shares with this package: `primage.contract`, and nothing else of it."""
    package = repository / "primage"
    return {"primage/contract": package / "contract", "primage/__init__.py": package / "__init__.py"}


QUEUE_REQUIREMENTS = "services/htc_queue/requirements.txt"
AUTHORIZER_REQUIREMENTS = "services/authorizer/requirements.txt"
PORTAL_REQUIREMENTS = "services/portal/requirements.txt"
HPC_REQUIREMENTS = "services/hpc_connector/requirements.txt"
STUDY_REQUIREMENTS = "apps/study-histology/requirements.txt"
NOTEBOOK_REQUIREMENTS = "images/notebook/requirements.txt"
NX_27017_REQUIREMENTS = "images/nx-27017/requirements.txt"
ENVOY_REQUIREMENTS = "images/envoy/requirements.txt"


def _service_images(repository: Path, service: str, below: str, name: str, libraries: Path) -> list[Image]:
    """A service that carries the contract: its libraries, and its own code as the last layer."""
    code = {service: repository / "services" / service / service, **_contract(repository)}
    return [
        Image(below, _folder(below), {"lib": libraries}, on_nodes=False),
        Image(name, _folder(name), code, base=below),
    ]


def _folder(name: str) -> str:
    """Where the Containerfile of one of our images is."""
    return f"images/{name.removeprefix(OWN).partition(':')[0]}"


def connector_images(repository: Path, libraries: Callable[[Path], Path]) -> list[Image]:
    """The HPC connector."""
    lib = libraries(repository / HPC_REQUIREMENTS)
    return _service_images(repository, "hpc_connector", HPC_CONNECTOR_LIBRARIES, HPC_CONNECTOR, lib)


def authorizer_images(repository: Path, libraries: Callable[[Path], Path]) -> list[Image]:
    """What makes tenants' objects."""
    lib = libraries(repository / AUTHORIZER_REQUIREMENTS)
    return _service_images(repository, "authorizer", AUTHORIZER_LIBRARIES, AUTHORIZER, lib)


def portal_images(repository: Path, libraries: Callable[[Path], Path]) -> list[Image]:
    """Web pages for members: with all of the package and the programs, whose settings and operations they show."""
    lib = libraries(repository / PORTAL_REQUIREMENTS)
    code = {
        "portal": repository / "services" / "portal" / "portal",
        "primage": repository / "primage",
        "infra": repository / "infra",
    }
    # Programs and their settings, and nothing of what they run.
    programs = [
        repository / "Pulumi.yaml",
        *sorted((repository / "apps").glob("*/*.py")),
        *sorted((repository / "apps").glob("*/*.yaml")),
    ]
    code |= {str(path.relative_to(repository)): path for path in programs}
    return [
        Image(PORTAL_LIBRARIES, _folder(PORTAL_LIBRARIES), {"lib": lib}, on_nodes=False),
        Image(PORTAL, _folder(PORTAL), code, base=PORTAL_LIBRARIES),
    ]


def login_images(repository: Path, keycloak: Path) -> list[Image]:
    """What people log in with.

    Args:
        keycloak: its distribution, unpacked.
    """
    return [postgresql_image(repository), Image(KEYCLOAK, "images/keycloak", {"keycloak": keycloak})]


def postgresql_image(repository: Path) -> Image:
    """The database beside Keycloak, and beside the image archive."""
    folder = _folder(POSTGRESQL)
    return Image(POSTGRESQL, folder, {"serve.sh": repository / folder / "serve.sh"})


def contour_images(tools: Path, envoy: Path) -> list[Image]:
    """What does a gateway's work.

    Args:
        tools: folder with Contour.
        envoy: folder with the package that Envoy lies in.
    """
    return [
        Image(CONTOUR, _folder(CONTOUR), {"contour": tools / "contour"}, base=SCRATCH),
        Image(ENVOY, _folder(ENVOY), {"lib": envoy}),
    ]


def web_image() -> Image:
    """NGINX, before sessions that show files, and before the image archive."""
    return Image(WEB, _folder(WEB))


def archive_image() -> Image:
    """What keeps medical images; its database and its proxy are others'."""
    return Image(ORTHANC, _folder(ORTHANC))


def records_image(repository: Path, tools: Path) -> Image:
    """What keeps clinical records.

    Args:
        tools: folder with FerretDB.
    """
    folder = _folder(FERRETDB)
    return Image(FERRETDB, folder, {"ferretdb": tools / "ferretdb", "serve.sh": repository / folder / "serve.sh"})


def indexed_records_image(repository: Path, libraries: Path) -> Image:
    """What keeps clinical records that are looked for in many ways.

    Args:
        libraries: folder with NX-27017 (NX_27017_REQUIREMENTS).
    """
    folder = _folder(NX_27017)
    own = {name: repository / folder / name for name in ("serve.sh", "stunnel.conf")}
    return Image(NX_27017, folder, {"lib": libraries, **own})


def proxy_image(tools: Path) -> Image:
    """The login before each session."""
    return Image(OAUTH2_PROXY, _folder(OAUTH2_PROXY), {"oauth2-proxy": tools / "oauth2-proxy"}, base=SCRATCH)


def app_images(repository: Path, libraries: Callable[[Path], Path]) -> list[Image]:
    """The images of applications and services, each after the one it is based on.

    Args:
        libraries: a folder with the libraries that a requirements file pins (primage/local/images/wheels.py).
    """
    service = repository / "services" / "htc_queue"
    queue = {"bin": service / "bin", "htc_queue": service / "htc_queue"}
    queue_lib = libraries(repository / QUEUE_REQUIREMENTS)
    study_lib = {
        "site-packages": libraries(repository / STUDY_REQUIREMENTS),
        "notebook": libraries(repository / NOTEBOOK_REQUIREMENTS),
        "queue": queue_lib,
        "overrides.json": repository / "images" / "study-libraries" / "overrides.json",
    }
    study = {**queue, "study_histology": repository / "apps" / "study-histology" / "package" / "study_histology"}
    return [
        *authorizer_images(repository, libraries),
        *connector_images(repository, libraries),
        *portal_images(repository, libraries),
        Image(QUEUE_LIBRARIES, "images/queue-libraries", {"lib": queue_lib}, on_nodes=False),
        Image(QUEUE, "images/queue", queue, base=QUEUE_LIBRARIES),
        Image(STUDY_LIBRARIES, "images/study-libraries", study_lib, on_nodes=False),
        Image(STUDY, "images/study-histology", study, base=STUDY_LIBRARIES),
        web_image(),
    ]


def images_on_demand() -> dict[str, list[Image]]:
    """What is too large for every site to have, by what it is called for: `primage site local images desktop`."""
    images = {"desktop": [Image(DESKTOP, _folder(DESKTOP))]}
    return {name: images[name] for name in ON_DEMAND}
