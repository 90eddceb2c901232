"""Whether a site is up where this machine knows nothing of it: it was brought up from another one, or by the other engine."""

from __future__ import annotations

from primage.clients.cluster import Cluster, Refused
from primage.contract.names import LABEL_MADE_BY, LABEL_STACK, MADE_BY_SITE, stack_label


def site_stands(cluster: Cluster, site: str) -> bool:
    """Whether the cluster has a namespace that the site made; True where whoever asks may not know."""
    labels = f"{LABEL_STACK}={stack_label(site)},{LABEL_MADE_BY}={MADE_BY_SITE}"
    try:
        return bool(cluster.list("v1", "Namespace", labels=labels))
    except Refused:
        return True
