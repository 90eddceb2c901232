"""Images by digest in everything a program declares."""

from __future__ import annotations

import pulumi

from primage.contract.images import Images, UnknownImageError, in_pods
from primage.errors import ExitCode, PrimageError

WITH_PODS = ("kubernetes:apps/", "kubernetes:batch/", "kubernetes:core/v1:Pod")


def pin_images(site: str, images: pulumi.Input[Images]) -> None:
    """Resolve short names of images in the pods of every object the program declares from here on; call it before the first one.

    Args:
        images: what names stand for on the site.
    """
    known = pulumi.Output.from_input(images)

    async def pin(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
        spec = args.props.get("spec")
        if not args.type_.startswith(WITH_PODS) or not isinstance(spec, dict):
            return None
        found = await known.future()
        if found is None:  # a preview that does not know the site's outputs yet
            return None
        try:
            resolved = in_pods(spec, found)
        except UnknownImageError as error:
            raise unknown_image(error, site) from error
        return pulumi.ResourceTransformResult(props={**args.props, "spec": resolved}, opts=args.opts)

    pulumi.runtime.register_resource_transform(pin)


def unknown_image(error: UnknownImageError, site: str) -> PrimageError:
    """The same, with where and what to do."""
    return PrimageError(
        str(error),
        where=f"Pulumi.{site}.yaml, images.registry",
        todo=f"name the registry there, then run `primage up {site}`",
        code=ExitCode.INVALID,
    )
