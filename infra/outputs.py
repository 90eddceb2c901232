"""What the site tells apps, the authorizer and the portal: the contract of primage.contract, filled from the settings."""

from __future__ import annotations

import json

from infra.config import SiteConfig
from primage.components.labels import labels_of
from primage.contract.images import Images
from primage.contract.names import SITE_PROJECT, namespace_for
from primage.contract.offer import SiteOffer
from primage.contract.outputs import GatewayOutputs, HpcOutputs, SiteOutputs, UserOutputs, VoOutputs
from primage.contract.portal import FOLDER, IMAGES, SITE_FILE, PortalGateway, PortalSettings
from primage.contract.vo import UserConfig
from primage.projects.connection import Connection
from primage.projects.images import images_of


def site_outputs(site: str, config: SiteConfig, cluster: Connection) -> SiteOutputs:
    """Names the programs choose, so that they are known before anything is made.

    Args:
        cluster: how the site's operators reach it.
    """
    images = images_of(config.images.registry, config.images.references)
    return SiteOutputs(
        site=site,
        kubeconfig=cluster.kubeconfig,
        context=cluster.context,
        mount_point=config.mount_point,
        vos={
            vo.name: VoOutputs(
                namespace=namespace_for(vo.name),
                gid=vo.gid,
                users={user.name: _user(user) for user in vo.users},
                backends=tuple(b.name for b in config.hpc.backends if vo.name in b.vos),
            )
            for vo in config.vos
        },
        login=config.login.issuer if config.login else "",
        portal=config.login.portal.url if config.login and config.login.portal else "",
        gateway=_gateway(config, images),
        images=images,
        hpc={b.name: HpcOutputs(endpoint=b.endpoint, slurmrestd=b.slurmrestd) for b in config.hpc.backends},
    )


def _user(user: UserConfig) -> UserOutputs:
    return UserOutputs(namespace=namespace_for(user.name), uid=user.uid, identity=user.name)


def _gateway(config: SiteConfig, images: Images) -> GatewayOutputs | None:
    if config.login is None or config.login.gateway is None:
        return None
    found = config.login.gateway
    return GatewayOutputs(
        domain=found.domain,
        port=found.port,
        proxy_image=images.resolve(found.proxy_image),
        own_authority=bool(config.login.authority),
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
        secrets=config.secrets,
    )


def portal_settings(site: str, config: SiteConfig) -> PortalSettings:
    """What the portal is told of the site; it has `login.portal`."""
    assert config.login
    assert config.login.portal
    gateway = config.login.gateway
    return PortalSettings(
        site=site,
        description=config.description,
        url=config.login.portal.url,
        issuer=config.login.issuer,
        vos=tuple(vo.name for vo in config.vos),
        gateway=PortalGateway(domain=gateway.domain, port=gateway.port) if gateway else None,
    )


def portal_files(config: SiteConfig, images: Images) -> dict[str, str]:
    """The site's file as programs in the portal read it, and the file of references that it names: nothing in either is secret.

    How the cluster is reached the portal says by itself. Members are not in it: one more must not have the portal start again, and
    programs find each on the cluster.

    Args:
        images: what short names of images stand for.
    """
    there = {
        **config.model_dump(mode="json", exclude_unset=True),
        "cluster": config.cluster.model_copy(update={"kubeconfig": "", "context": ""}).model_dump(mode="json"),
        "images": {"registry": config.images.registry, "references": f"{FOLDER}/site/{IMAGES}"},
        "vos": [vo.model_dump(mode="json", exclude_unset=True, exclude={"users"}) for vo in config.vos],
    }
    return {
        SITE_FILE: json.dumps({"config": {f"{SITE_PROJECT}:site": there}}, indent=1),
        IMAGES: json.dumps(dict(images.pinned), indent=1, sort_keys=True),
    }
