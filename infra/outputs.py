"""What the site's stack outputs: the contract of primage.contract, filled from the settings."""

from __future__ import annotations

from infra.config import SiteConfig
from primage.contract.outputs import HpcOutputs, SiteOutputs, UserOutputs, VoOutputs
from primage.names import namespace_for
from primage.projects.connection import connection_of


def site_outputs(site: str, config: SiteConfig) -> SiteOutputs:
    """Names the programs choose, so that they are known before anything is made."""
    connection = connection_of(config.cluster)
    return SiteOutputs(
        site=site,
        kubeconfig=connection.kubeconfig,
        context=connection.context,
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
        hpc={b.name: HpcOutputs(endpoint=b.endpoint, slurmrestd=b.slurmrestd) for b in config.hpc.backends},
    )
