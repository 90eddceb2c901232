"""The namespace of the site's own Jobs."""

from __future__ import annotations

import pulumi

from primage.components.kubernetes_object import KubernetesObject
from primage.contract import names


class SystemNamespace(pulumi.ComponentResource):
    """`primage-system`: nobody but operators has rights in it, its pods may mount what nodes have, and none reaches the network."""

    namespace: pulumi.Output[str]
    """Name of the namespace."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:site:SystemNamespace", name, {}, opts)
        space = KubernetesObject(
            "v1",
            "Namespace",
            f"{name}-namespace",
            metadata={"name": names.SYSTEM_NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.namespace = space.name
        KubernetesObject(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            f"{name}-default-deny",
            metadata={"name": "default-deny", "namespace": self.namespace},
            spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"namespace": self.namespace})
