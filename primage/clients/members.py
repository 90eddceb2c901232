"""Members of a VO: those whom the site's file names, and those whom its cluster alone knows."""

from __future__ import annotations

from collections.abc import Callable

from primage.clients.cluster import Cluster, Ref, Refused
from primage.contract import names
from primage.contract.outputs import SiteOutputs, UserOutputs, VoOutputs


def member_of(outputs: SiteOutputs, vo: VoOutputs, namespace: str, cluster: Callable[[], Cluster]) -> UserOutputs | None:
    """The member of a VO with this namespace: whom the site's file names or, where people log in, whom its cluster knows.

    Args:
        cluster: the site's, which is connected to only where it has to be asked.
    """
    found = next((user for user in vo.users.values() if user.namespace == namespace), None)
    return member_on(cluster(), vo.namespace, namespace) if found is None and outputs.login else found


def member_on(cluster: Cluster, vo: str, namespace: str) -> UserOutputs | None:
    """The member of a VO whose namespace that is; None where it is nobody's, somebody's of another VO, or not to be seen.

    Nobody but the site writes to a namespace: what it carries says whose it is, and which POSIX user its pods run as.

    Args:
        vo: the VO's own namespace.
    """
    try:
        found = cluster.get(Ref("v1", "Namespace", namespace))
    except Refused:
        return None
    labels = (found or {}).get("metadata", {}).get("labels") or {}
    theirs = {names.LABEL_MADE_BY: names.MADE_BY_SITE, **names.tenant_labels(vo, namespace)}
    uid = str(labels.get(names.LABEL_UID, ""))
    if not theirs.items() <= labels.items() or not uid.isascii() or not uid.isdigit():
        return None
    said = (found or {})["metadata"].get("annotations") or {}
    return UserOutputs(namespace=namespace, uid=int(uid), identity=str(said.get(names.ANNOTATION_USER, "")))
