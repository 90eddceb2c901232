"""An app's stack: which VO and site it is for, and what the site has for it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from primage.clients.cluster import Cluster
from primage.clients.members import member_of
from primage.components.images import pin_images
from primage.components.labels import label_everything
from primage.components.provider import cluster_provider
from primage.contract.names import LABEL_MANAGED_BY, LABEL_STACK, ORGANIZATION, SITE_PROJECT, stack_label
from primage.contract.outputs import SiteOutputs, UserOutputs, VoOutputs
from primage.errors import ExitCode, PrimageError
from primage.projects.project import StackName, parse_stack_name


@dataclass(frozen=True)
class AppStack:
    """Where an app's objects go.

    Attributes:
        name: the parsed stack name.
        site: what the site has.
        identity: of the member whose stack it is; empty for a VO's own.
        namespace, gid, uid, mount_point: as the site's outputs have them for the VO, or for its member.
        kubeconfig, context: how the site's cluster is reached.
        options: options for top-level components, with the site's provider.
    """

    name: StackName
    site: pulumi.Output[SiteOutputs]
    identity: pulumi.Output[str]
    namespace: pulumi.Output[str]
    gid: pulumi.Output[int]
    uid: pulumi.Output[int]
    mount_point: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    context: pulumi.Output[str]
    options: pulumi.ResourceOptions

    def instance(self, name: str) -> str:
        """The name of what the stack makes: its settings' name, and the run's where there is one."""
        return f"{name}-{self.name.run}" if self.name.run else name

    def labelled(self, labels: dict[str, str]) -> dict[str, str]:
        """Labels for an object that a dynamic provider makes: no transform of the program sees those."""
        return {**labels, LABEL_MANAGED_BY: "primage", LABEL_STACK: stack_label(str(self.name))}


def this_app(app: str) -> AppStack:
    """The app's own stack, as Pulumi names it (`<vo>.<site>` or `<vo>.<site>--<run>`)."""
    name = parse_stack_name(f"{app}/{pulumi.get_stack()}")
    label_everything(stack=str(name), site=name.site, vo=name.vo, user=name.user)
    reference = pulumi.StackReference(f"{ORGANIZATION}/{SITE_PROJECT}/{name.site}")
    site = reference.require_output("site").apply(SiteOutputs.model_validate)
    pin_images(name.site, site.apply(lambda outputs: outputs.images))
    served = site.apply(lambda outputs: _served(outputs, name))
    place: pulumi.Output[VoOutputs | UserOutputs] = site.apply(lambda outputs: _place(outputs, name))
    kubeconfig, context = site.apply(lambda outputs: outputs.kubeconfig), site.apply(lambda outputs: outputs.context)
    provider = cluster_provider(kubeconfig, context)
    return AppStack(
        name=name,
        site=site,
        identity=place.apply(lambda of: of.identity if isinstance(of, UserOutputs) else ""),
        namespace=place.apply(lambda of: of.namespace),
        gid=served.apply(lambda vo: vo.gid),
        uid=place.apply(lambda of: of.uid),
        mount_point=site.apply(lambda outputs: outputs.mount_point),
        kubeconfig=kubeconfig,
        context=context,
        options=pulumi.ResourceOptions(provider=provider),
    )


def _served(outputs: SiteOutputs, name: StackName) -> VoOutputs:
    if name.vo not in outputs.vos:
        raise PrimageError(
            f"site {name.site} does not serve VO {name.vo}",
            where=f"Pulumi.{name.site}.yaml",
            todo=f"use a VO it serves ({', '.join(outputs.vos)}), or add this one to the site and run `primage up {name.site}`",
            code=ExitCode.INVALID,
        )
    return outputs.vos[name.vo]


def _place(outputs: SiteOutputs, name: StackName) -> VoOutputs | UserOutputs:
    vo = _served(outputs, name)
    if not name.user:
        return vo
    found = member_of(outputs, vo, name.user, lambda: Cluster(outputs.kubeconfig, outputs.context))
    if found is None:
        raise PrimageError(
            f"VO {name.vo} has no member {name.user} on site {name.site}",
            where=f"Pulumi.{name.site}.yaml",
            todo=f"use one it has ({', '.join(vo.users) or 'none'}), or add them under its users and run `primage up {name.site}`",
            code=ExitCode.INVALID,
        )
    return found
