"""A tenant's namespace, and where its jobs find their volumes."""

from __future__ import annotations

from primage.contract import names
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object, inside

POD_SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


def namespace(tenant: Tenant) -> Object:
    """Its namespace: Pod Security `restricted`, the one user and group of its pods, and whose it is."""
    whose = {names.ANNOTATION_USER: tenant.member.identity} if tenant.member else {}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": tenant.namespace,
            "labels": {
                **tenant.labels,
                **POD_SECURITY,
                names.LABEL_UID: str(tenant.uid),
                names.LABEL_GID: str(tenant.vo.gid),
            },
            "annotations": {names.ANNOTATION_SCRATCH: tenant.vo.scratch_max, names.ANNOTATION_VO: tenant.vo.name, **whose},
        },
    }


def config(tenant: Tenant, *, mount_point: str, oneprovider: str, authority: str) -> Object:
    """Where its jobs find the volumes (the paper's figure 6), and its sessions whom to believe.

    Args:
        oneprovider: host of the nearest Oneprovider; empty where there is none.
        authority: the certificate, PEM, that vouches for the issuer of logins; empty where one of the usual ones does.
    """
    own = {names.CONFIG_MAP_AUTHORITY_KEY: authority} if authority else {}
    data = {names.CONFIG_MAP_PROVIDER_KEY: oneprovider, names.CONFIG_MAP_MOUNT_KEY: mount_point, **own}
    return inside(tenant, "v1", "ConfigMap", names.CONFIG_MAP, data=data)
