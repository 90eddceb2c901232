"""What the site tells apps and the authorizer: the contract of primage.contract, filled from the settings."""

from __future__ import annotations

from infra.config import SiteConfig
from primage.components.labels import labels_of
from primage.contract.images import Images
from primage.contract.names import namespace_for
from primage.contract.offer import SiteOffer
from primage.contract.outputs import HpcOutputs, SiteOutputs, UserOutputs, VoOutputs
from primage.projects.connection import Connection
from primage.projects.images import images_of


def site_outputs(site: str, config: SiteConfig, cluster: Connection) -> SiteOutputs:
    """Names the programs choose, so that they are known before anything is made.

    Args:
        cluster: how the site's operators reach it.
    """
    return SiteOutputs(
        site=site,
        kubeconfig=cluster.kubeconfig,
        context=cluster.context,
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
        login=config.login.issuer if config.login else "",
        images=images_of(config.images.registry, config.images.references),
        hpc={b.name: HpcOutputs(endpoint=b.endpoint, slurmrestd=b.slurmrestd) for b in config.hpc.backends},
    )


def site_offer(site: str, config: SiteConfig, images: Images) -> SiteOffer:
    """What the site has for every tenant.

    Args:
        images: what short names of images stand for.
    """
    return SiteOffer(
        labels=labels_of(stack=site, site=site),
        protect=config.protect,
        mount_point=config.mount_point,
        oneprovider=config.oneprovider,
        network=config.network,
        volumes=config.volumes,
        login=config.login,
        hpc=config.hpc.model_copy(update={"image": images.resolve(config.hpc.image)}),
    )
