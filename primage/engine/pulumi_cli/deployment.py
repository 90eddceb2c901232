"""What Pulumi has noted of a stack: the `deployment` of `pulumi stack export`."""

from __future__ import annotations

from typing import Any

from primage.clients.cluster import Ref
from primage.components.dynamic_providers import PREFIX, PROVIDERS
from primage.engine import protection
from primage.engine.api import Change
from primage.engine.pulumi_cli.watch import deletion

Deployment = dict[str, Any]


def leaving(deployment: Deployment, kinds: frozenset[str]) -> list[Change]:
    """What a `destroy` would delete, with what is refused said of each resource.

    Args:
        kinds: those that the stack's settings protect.
    """
    return [
        protection.marked(change, kinds=kinds, protected=bool(resource.get("protect")))
        for resource in deployment.get("resources") or []
        if (change := deletion(resource))
    ]


def unnoted(deployment: Deployment) -> dict[str, Ref]:
    """By URN, the objects that a killed run may have made: it noted only that it was about to."""
    begun = [op["resource"] for op in deployment.get("pending_operations") or [] if op["type"] == "creating"]
    found = {resource["urn"]: _address(resource) for resource in begun}
    return {urn: ref for urn, ref in found.items() if ref}


def _address(resource: dict[str, Any]) -> Ref | None:
    inputs = resource.get("inputs") or {}
    type_ = str(resource["type"])
    try:
        if type_.startswith(PREFIX):
            return PROVIDERS[type_]().address(inputs) if type_ in PROVIDERS else None
        return Ref.of(inputs) if type_.startswith("kubernetes:") else None
    except (KeyError, TypeError):
        return None
