"""DATALAKE and HOME in a namespace, by persistent volume claims, whatever they are kept on."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from infra.components.volumes import VolumeBackend
from infra.config import VolumesConfig
from infra.tenants import Tenant
from primage import names


@dataclass(frozen=True)
class Share:
    """One claim: its name, the volume it is cut from, the folder below it, and whether jobs may write."""

    claim: str
    volume: VolumeBackend
    folder: str
    writable: bool


class SharedVolumes(pulumi.ComponentResource):
    """Three claims in a tenant's namespace: `datalake` (read-only), `home-private`, `home-shared`.

    Each is bound to a volume made for it alone, so that no other namespace can claim its folders. Volumes are
    retained: deleting a claim, or the whole stack, leaves the data where it is. What makes the folders comes before it, by
    its options.
    """

    def __init__(
        self,
        name: str,
        tenant: Tenant,
        volumes: VolumesConfig,
        *,
        namespace: pulumi.Input[str],
        protect: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:SharedVolumes", name, {}, opts)
        vo = tenant.vo.name
        shares = (
            Share(names.CLAIM_DATALAKE, volumes.datalake, vo, writable=False),
            Share(names.CLAIM_HOME_PRIVATE, volumes.home, f"{vo}/private/{tenant.identity}", writable=True),
            Share(names.CLAIM_HOME_SHARED, volumes.home, f"{vo}/shared", writable=True),
        )
        for share in shares:
            self._claim(name, tenant, share, namespace, protect)
        self.register_outputs({})

    def _claim(self, name: str, tenant: Tenant, share: Share, namespace: pulumi.Input[str], protect: bool) -> None:
        modes = ["ReadWriteMany" if share.writable else "ReadOnlyMany"]
        volume = kubernetes.core.v1.PersistentVolume(
            f"{name}-{share.claim}-volume",
            metadata={"name": f"{tenant.namespace}.{share.claim}", "labels": tenant.labels},
            spec={
                "capacity": {"storage": share.volume.capacity},
                "accessModes": modes,
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "claimRef": {"namespace": namespace, "name": share.claim},
                **share.volume.folder(share.folder),
            },
            opts=pulumi.ResourceOptions(parent=self, protect=protect),
        )
        kubernetes.core.v1.PersistentVolumeClaim(
            f"{name}-{share.claim}",
            metadata={"name": share.claim, "namespace": namespace, "labels": tenant.labels},
            spec={
                "accessModes": modes,
                "storageClassName": "",
                "volumeName": volume.metadata.name,
                "resources": {"requests": {"storage": share.volume.capacity}},
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[volume], protect=protect),
        )
