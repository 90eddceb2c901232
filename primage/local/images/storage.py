"""Image building and the store behind it: a thin layer over buildah, kept apart from the host's own images."""

from __future__ import annotations

import json

from primage.paths import cache_dir
from primage.process import capture

RUN_TIME_STATE = "/run/primage/libpod"

STORAGE_CONF = """\
# Written by primage: images and layers are a cache of this project, apart from the host's own podman.
[storage]
driver = "overlay"
graphroot = "{graphroot}"
runroot = "/run/primage/containers"
"""

CONTAINERS_CONF = """\
# Written by primage. Machines are made by hosts of every kind, among them ones without CAP_SYS_RESOURCE
# and without systemd: the cgroup manager and the event log do not need either, the limits are ones any
# host may set.
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
oom_score_adj = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "{run_time_state}"
[network]
network_config_dir = "{network_dir}"
"""


def environment() -> dict[str, str]:
    """Variables that make podman and buildah use this project's store; writes the two files they name."""
    folder = cache_dir() / "containers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "networks").mkdir(exist_ok=True)
    files = {
        folder / "storage.conf": STORAGE_CONF.format(graphroot=folder / "storage"),
        folder / "containers.conf": CONTAINERS_CONF.format(network_dir=folder / "networks", run_time_state=RUN_TIME_STATE),
    }
    for path, text in files.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    return {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "BUILDAH_ISOLATION": "chroot",
    }


def image_key(name: str) -> str | None:
    """The `eu.primage.key` label of the image called `name`, or None if there is no such image."""
    listed = json.loads(capture(["buildah", "images", "--json", "--all"], env=environment()) or "[]") or []
    if not any(name in (image.get("names") or []) for image in listed):
        return None
    inspected = json.loads(capture(["buildah", "inspect", "--type", "image", name], env=environment()))
    labels: dict[str, str] = inspected.get("OCIv1", {}).get("config", {}).get("Labels") or {}
    return labels.get("eu.primage.key")


def image_ids() -> dict[str, str]:
    """The ID of every image of the store, by its names: the digest of its configuration, wherever it is pushed to."""
    listed = json.loads(capture(["buildah", "images", "--json", "--no-trunc"], env=environment()) or "[]") or []
    return {name: str(image["id"]).removeprefix("sha256:") for image in listed for name in image.get("names") or []}


def remove_archives() -> None:
    """Remove what earlier versions wrote for nodes to import: several gigabytes that a registry makes superfluous."""
    for path in (cache_dir() / "images").glob("*.tar"):
        if not path.name.startswith("rootfs-"):
            path.unlink()
