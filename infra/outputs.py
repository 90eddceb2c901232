"""What the site's stack outputs: the contract of primage.contract, filled from the settings."""

from __future__ import annotations

import os

from infra.config import SiteConfig
from primage.clients.cluster import kubeconfig_path
from primage.contract import SiteOutputs, UserOutputs, VoOutputs
from primage.names import namespace_for


def site_outputs(site: str, config: SiteConfig) -> SiteOutputs:
    """Names the programs choose, so that they are known before anything is made.

    PRIMAGE_KUBECONFIG stands in for the settings' kubeconfig: `make site KUBECONFIG=…` runs a site on a cluster of yours.
    """
    return SiteOutputs(
        site=site,
        kubeconfig=os.environ.get("PRIMAGE_KUBECONFIG") or kubeconfig_path(config.cluster.kubeconfig),
        context=config.cluster.context,
        mount_point=config.mount_point,
        vos={
            vo.name: VoOutputs(
                namespace=namespace_for(vo.name),
                gid=vo.gid,
                users={user.name: UserOutputs(namespace=namespace_for(user.name), uid=user.uid) for user in vo.users},
                backends=tuple(b.name for b in config.hpc.backends if vo.name in b.vos),
            )
            for vo in config.vos
        },
    )
