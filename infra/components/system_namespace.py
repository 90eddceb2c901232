"""The namespace of the site's own pods."""

from __future__ import annotations

import pulumi

from primage.components.kubernetes_object import KubernetesObject
from primage.contract import names


class SystemNamespace(pulumi.ComponentResource):
    """`primage-system`: nobody but operators has rights in it, and its pods may mount what nodes have.

    None of them reaches the network, unless a policy of its own says where.
    """

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:site:SystemNamespace", name, {}, opts)
        space = KubernetesObject(
            "v1",
            "Namespace",
            f"{name}-namespace",
            metadata={"name": names.SYSTEM_NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
            opts=pulumi.ResourceOptions(parent=self),
        )
        KubernetesObject(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            f"{name}-default-deny",
            metadata={"name": "default-deny", "namespace": space.name},
            spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"namespace": space.name})
