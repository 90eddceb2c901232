"""A Kubernetes object, given as its API takes it, as the resource of its kind."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

TYPES = {
    ("networking.k8s.io/v1", "NetworkPolicy"): "networking.v1.NetworkPolicy",
    ("v1", "ConfigMap"): "core.v1.ConfigMap",
    ("v1", "LimitRange"): "core.v1.LimitRange",
    ("v1", "Namespace"): "core.v1.Namespace",
    ("v1", "PersistentVolume"): "core.v1.PersistentVolume",
    ("v1", "PersistentVolumeClaim"): "core.v1.PersistentVolumeClaim",
    ("v1", "ResourceQuota"): "core.v1.ResourceQuota",
}
"""By version and kind, the type below `pulumi_kubernetes`, which loads what is used."""


def declare(name: str, obj: dict[str, Any], opts: pulumi.ResourceOptions) -> pulumi.CustomResource:
    """Declare an object as a resource called `name`."""
    made = attrgetter(TYPES[obj["apiVersion"], obj["kind"]])(kubernetes)
    fields = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
    resource: pulumi.CustomResource = made(name, **fields, opts=opts)
    return resource
