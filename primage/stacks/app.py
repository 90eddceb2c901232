"""An app's stack: which VO and site it is for, and what the site has for it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from primage.contract import SiteOutputs, VoOutputs
from primage.errors import ExitCode, PrimageError
from primage.names import ORGANIZATION, SITE_PROJECT
from primage.stack import StackName, parse_stack_name
from primage.stacks.labels import label_everything
from primage.stacks.provider import cluster_provider


@dataclass(frozen=True)
class AppStack:
    """Where an app's objects go.

    Attributes:
        name: the parsed stack name.
        namespace, gid, mount_point: as the site's outputs have them for the VO.
        kubeconfig, context: how the site's cluster is reached.
        options: options for top-level components, with the site's provider.
    """

    name: StackName
    namespace: pulumi.Output[str]
    gid: pulumi.Output[int]
    mount_point: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    context: pulumi.Output[str]
    options: pulumi.ResourceOptions


def this_app(app: str) -> AppStack:
    """The app's own stack, as Pulumi names it (`<vo>.<site>` or `<vo>.<site>--<run>`)."""
    name = parse_stack_name(f"{app}/{pulumi.get_stack()}")
    label_everything(site=name.site, vo=name.vo)
    reference = pulumi.StackReference(f"{ORGANIZATION}/{SITE_PROJECT}/{name.site}")
    site = reference.require_output("site").apply(SiteOutputs.model_validate)
    served = site.apply(lambda outputs: _served(outputs, name))
    kubeconfig, context = site.apply(lambda outputs: outputs.kubeconfig), site.apply(lambda outputs: outputs.context)
    provider = cluster_provider(kubeconfig, context)
    return AppStack(
        name=name,
        namespace=served.apply(lambda vo: vo.namespace),
        gid=served.apply(lambda vo: vo.gid),
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
