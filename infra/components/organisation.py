"""A virtual organisation (VO) and those of its members whom the site's file names, as custom resources."""

from __future__ import annotations

import pulumi

from primage.components.kubernetes_object import declare
from primage.contract import custom_resources, names
from primage.contract.offer import SiteOffer
from primage.contract.vo import VoConfig


class Organisation(pulumi.ComponentResource):
    """The authorizer makes of each what a tenant has; `up` waits until all of it is there."""

    def __init__(self, vo: VoConfig, offer: SiteOffer, opts: pulumi.ResourceOptions | None = None) -> None:
        name = names.namespace_for(vo.name)
        super().__init__("primage:site:Organisation", name, {}, opts)
        here = pulumi.ResourceOptions(parent=self, protect=offer.protect)
        organisation = custom_resources.waited_for(custom_resources.organisation(vo.organisation), offer.digest)
        made = declare(name, organisation, here)
        after = pulumi.ResourceOptions.merge(here, pulumi.ResourceOptions(depends_on=[made]))
        for user in vo.users:
            member = custom_resources.waited_for(custom_resources.member(vo.name, user.member), offer.digest)
            declare(f"{name}-{member['metadata']['name']}", member, after)
        self.register_outputs({})
