"""A Kubernetes object as a resource, given as its API takes it."""

from __future__ import annotations

from typing import Any

import pulumi


class KubernetesObject(pulumi.CustomResource):
    """Any kind of object, for the Kubernetes provider; the program's run fails where the API has no such kind.

    `pulumi_kubernetes` has a class for every kind there is, which take half a second to import. The provider is told the same by
    this one, and a stack does not see the difference.

    Args:
        api_version: such as `batch/v1`, or `v1`.
        kind: such as `Job`.
        resource_name: what Pulumi calls it.
        fields: the object's others: `metadata`, `spec`, ….
    """

    metadata: pulumi.Output[dict[str, Any]]

    def __init__(self, api_version: str, kind: str, resource_name: str, *, opts: pulumi.ResourceOptions, **fields: Any) -> None:
        version = api_version if "/" in api_version else f"core/{api_version}"
        super().__init__(f"kubernetes:{version}:{kind}", resource_name, {"apiVersion": api_version, "kind": kind, **fields}, opts)

    @property
    def name(self) -> pulumi.Output[str]:
        """Its own name, known once it is there."""
        return self.metadata["name"]


def declare(resource_name: str, obj: dict[str, Any], opts: pulumi.ResourceOptions) -> KubernetesObject:
    """Declare a whole object, as `primage.contract.tenant_objects` has them."""
    fields = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
    return KubernetesObject(obj["apiVersion"], obj["kind"], resource_name, opts=opts, **fields)
