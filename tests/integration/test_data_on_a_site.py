"""What keeps images and records, on the standing site: what members reach of it, and what could not be run here."""

from __future__ import annotations

from data_settings import DCM4CHEE, MONGODB

from primage.clients.cluster import Cluster
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.local.site import LocalSite
from primage.operations.data_checks import data_looks
from primage.projects.project import parse_stack_name


def test_a_sites_checks_find_images_and_records(site: LocalSite, cluster: Cluster) -> None:
    found = {name: check() for name, check in data_looks("local", cluster)}
    assert set(found) == {"image archive vo.primage.eu", "image archive training.primage.eu", "clinical records"}
    assert all(ok for ok, _ in found.values()), found


def test_servers_that_cannot_be_had_here_are_declared_as_kubernetes_has_it(site: LocalSite, cluster: Cluster) -> None:
    """Every field is one that the API server knows, and of the right type; nothing is made."""
    options = Options(overrides={"site.image_archive": DCM4CHEE, "site.clinical_records": MONGODB})
    tried = set()
    for obj in EmbeddedEngine().render(parse_stack_name("local"), options):
        name = obj["metadata"]["name"]
        if name.startswith(("image-archive", "image-senders", "clinical-records")):
            # Beside what stands under that name, of which some fields cannot change.
            cluster.apply(
                {**obj, "metadata": {**obj["metadata"], "name": f"{name[:55]}-schema"}}, manager="primage-test", dry_run=True
            )
            tried.add(obj["kind"])
    assert {"StatefulSet", "Job", "CronJob", "PersistentVolumeClaim", "NetworkPolicy", "Service", "ConfigMap"} <= tried
