"""Rolling out rebuilt images: local images keep their tag, so Deployments are told when the image behind it has changed."""

from __future__ import annotations

from collections.abc import Callable

from primage.clients.cluster import Cluster, Object, Ref
from primage.kubernetes.waiting import wait_ready
from primage.local.images import storage
from primage.names import LABEL_MANAGED_BY

ANNOTATION = "primage.eu/image-key"
MANAGER = "primage-local-images"
TIMEOUT_S = 180


def roll_out(cluster: Cluster, report: Callable[[str], None]) -> None:
    """Restart the Deployments whose image is another than the one their pods were started from, and wait for them."""
    for deployment in cluster.list("apps/v1", "Deployment", labels=f"{LABEL_MANAGED_BY}=primage"):
        template = deployment["spec"]["template"]
        keys = sorted({storage.image_key(c["image"]) or "" for c in template["spec"]["containers"]})
        wanted = "-".join(key for key in keys if key)
        if not wanted or (template["metadata"].get("annotations") or {}).get(ANNOTATION) == wanted:
            continue
        ref = Ref("apps/v1", "Deployment", deployment["metadata"]["name"], deployment["metadata"]["namespace"])
        report(str(ref))
        change: Object = {"spec": {"template": {"metadata": {"annotations": {ANNOTATION: wanted}}}}}
        wait_ready(cluster, cluster.patch(ref, change, manager=MANAGER), timeout_s=TIMEOUT_S, report=report)
