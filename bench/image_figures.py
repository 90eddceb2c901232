"""From a changed line of the HPC connector to its pods running it: build the last layer, push it, roll it out."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from primage.clients.cluster import Cluster, is_leaving
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.local.images.build import ensure_images
from primage.local.images.catalogue import HPC_CONNECTOR, connector_images
from primage.local.images.push import push_images, site_registry
from primage.local.images.wheels import unpack_wheels
from primage.operations.site import site_handle
from primage.paths import log_dir
from primage.projects.project import StackName

ROOT = Path(__file__).resolve().parents[1]
RUNS = 3
SITE = StackName("local")


def roll_out(repository: Path) -> str:
    """Build, push and run the connector of this repository; returns its reference."""
    log = log_dir() / "bench-images.log"
    images = connector_images(repository, lambda requirements: unpack_wheels(requirements, log))
    ensure_images(images, repository=repository, log=log)
    references = push_images(images, site_registry(site_handle(SITE.site).outputs.images.registry), log=log)
    EmbeddedEngine().up(SITE, Options())
    return references[HPC_CONNECTOR]


def running(cluster: Cluster) -> set[str]:
    """The images that the connectors' pods which are not on their way out run."""
    pods = [pod for pod in cluster.list("v1", "Pod", labels="app.kubernetes.io/name=hpc-connector") if not is_leaving(pod)]
    return {container["image"] for pod in pods for container in pod["spec"]["containers"]}


def changed_to_running(repository: Path) -> float:
    """Seconds; the line is another each time."""
    source = repository / "services/hpc_connector/hpc_connector/__main__.py"
    source.write_text(f"{source.read_text()}# {time.time_ns()}\n")
    started = time.monotonic()
    reference = roll_out(repository)
    seconds = time.monotonic() - started
    found = running(site_handle(SITE.site).cluster)
    if found != {reference}:  # `up` has waited for them, but not for ever
        raise SystemExit(f"Error: the connectors run {found} and not {reference}.")
    return seconds


def figures() -> dict[str, float]:
    """The median of several runs, on a copy of the sources; afterwards the site runs the original again."""
    with tempfile.TemporaryDirectory(prefix="primage-bench-") as folder:
        copy = Path(folder)
        for part in ("images", "services", "primage"):
            shutil.copytree(ROOT / part, copy / part)
        try:
            return {"code_change_to_running_s": round(statistics.median(changed_to_running(copy) for _ in range(RUNS)), 1)}
        finally:
            roll_out(ROOT)


if __name__ == "__main__":
    print(json.dumps(figures(), indent=2))
