"""What a tenant has on a site before anybody logs in, as Kubernetes objects: computed from the settings alone, with no I/O.

A tenant is a VO's own namespace or a member's (primage.contract.tenant). Whoever makes these objects, or checks them, asks
here what they are: a module for each kind.
"""

from __future__ import annotations

from primage.contract.offer import SiteOffer
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import claims, hpc, limits, namespace, network, rights
from primage.contract.tenant_objects.objects import Object


def everything(tenant: Tenant, offer: SiteOffer, authority: str = "") -> list[Object]:
    """All of a tenant, the namespace first; only the folders that its volumes lead to come before them.

    Args:
        authority: the certificate, PEM, that vouches for the issuer of logins; empty where one of the usual ones does.
    """
    found = [
        namespace.namespace(tenant),
        limits.quota(tenant),
        limits.limits(tenant),
        *network.network_policies(tenant, offer.network, offer.login),
        namespace.config(tenant, mount_point=offer.mount_point, oneprovider=offer.oneprovider, authority=authority),
        *(make(tenant, share) for share in claims.shares(tenant, offer.volumes) for make in (claims.volume, claims.claim)),
        *_hpc(tenant, offer),
        *rights.bindings(tenant, login=offer.login is not None),
    ]
    return [_labelled(obj, offer.labels) for obj in found]


def _hpc(tenant: Tenant, offer: SiteOffer) -> list[Object]:
    centres = [centre for centre in offer.hpc.backends if tenant.vo.name in centre.vos]
    if not centres:
        return []
    return [*(hpc.backend(tenant, centre) for centre in centres), *hpc.bindings(tenant)]


def _labelled(obj: Object, labels: dict[str, str]) -> Object:
    metadata = obj["metadata"]
    return {**obj, "metadata": {**metadata, "labels": {**labels, **metadata["labels"]}}}
