"""A tenant's claims, and the volume of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from primage.contract import names
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.folders import claimed
from primage.contract.tenant_objects.objects import Object, inside
from primage.contract.volumes.settings import VolumesConfig


@dataclass(frozen=True)
class Share:
    """One claim of a tenant, and the folder that it is.

    Attributes:
        claim: its name.
        capacity: as users are told it.
        source: the part of a volume's specification that says where the folder is, under the key of its kind.
        writable: whether jobs may write.
    """

    claim: str
    capacity: str
    source: Mapping[str, Any]
    writable: bool

    @property
    def modes(self) -> list[str]:
        """How it is mounted, in Kubernetes' words."""
        return ["ReadWriteMany" if self.writable else "ReadOnlyMany"]


def shares(tenant: Tenant, volumes: VolumesConfig) -> list[Share]:
    """Its three claims: `datalake` (read-only), `home-private`, `home-shared`."""
    cut_from = {
        names.CLAIM_DATALAKE: volumes.datalake,
        names.CLAIM_HOME_PRIVATE: volumes.home,
        names.CLAIM_HOME_SHARED: volumes.home,
    }
    return [
        Share(claim, volume.capacity, volume.folder("/".join(claimed(tenant)[claim].path)), writable=claim != names.CLAIM_DATALAKE)
        for claim, volume in cut_from.items()
    ]


def volume(tenant: Tenant, share: Share) -> Object:
    """The volume of one claim, made for it alone, so that no other namespace can claim its folder; it is retained."""
    spec = {
        "capacity": {"storage": share.capacity},
        "accessModes": share.modes,
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "claimRef": {"namespace": tenant.namespace, "name": share.claim},
        **share.source,
    }
    metadata = {"name": _volume_name(tenant, share), "labels": tenant.labels}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def claim(tenant: Tenant, share: Share) -> Object:
    """One claim, bound to its volume."""
    spec = {
        "accessModes": share.modes,
        "storageClassName": "",
        "volumeName": _volume_name(tenant, share),
        "resources": {"requests": {"storage": share.capacity}},
    }
    return inside(tenant, "v1", "PersistentVolumeClaim", share.claim, spec=spec)


def _volume_name(tenant: Tenant, share: Share) -> str:
    return f"{tenant.namespace}.{share.claim}"
