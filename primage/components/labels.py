"""Labels every object of a stack carries, so that anything on a cluster can be traced to what declared it."""

from __future__ import annotations

import pulumi

from primage.contract import names


def label_everything(*, stack: str, site: str, vo: str = "", user: str = "") -> None:
    """Label every Kubernetes object the program declares from here on; call it before the first one.

    Without a VO it is the site's own: such objects are kept from tenants' hands (infra/admission/objects.py).

    Args:
        stack: its full name (`batch/vo.primage.eu.local--trial`); tells its objects from any other stack's.
    """
    labels = labels_of(stack=stack, site=site, vo=vo, user=user)

    def add(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
        metadata = args.props.get("metadata")
        if not args.type_.startswith("kubernetes:") or not isinstance(metadata, dict):
            return None
        merged = {**metadata, "labels": {**labels, **(metadata.get("labels") or {})}}
        return pulumi.ResourceTransformResult(props={**args.props, "metadata": merged}, opts=args.opts)

    pulumi.runtime.register_resource_transform(add)


def labels_of(*, stack: str, site: str, vo: str = "", user: str = "") -> dict[str, str]:
    """The labels of every object of a stack, as `label_everything` is told of it."""
    labels = {names.LABEL_MANAGED_BY: "primage", names.LABEL_SITE: site, names.LABEL_STACK: names.stack_label(stack)}
    if vo:
        labels[names.LABEL_VO] = names.namespace_for(vo)
    else:
        labels[names.LABEL_MADE_BY] = names.MADE_BY_SITE
    if user:
        labels[names.LABEL_USER] = user
    return labels
