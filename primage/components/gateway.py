"""The place of a login proxy in front of what people open in a browser.

A session's server listens on its pod's loopback alone, so nothing on the network reaches it, whatever enforces network
policies; `primage open` comes in through the API server, as somebody whom Kubernetes knows. A login proxy takes the same
place from outside: a container beside the server that checks who comes and forwards to `port` on the loopback.
"""

from __future__ import annotations

import pulumi

from primage.components.app import AppStack
from primage.components.kubernetes_object import KubernetesObject


class Gateway(pulumi.ComponentResource):
    """Who may reach a session over the network: nobody, until a login proxy stands here.

    Args:
        labels: of the session's pod.
        port: of its server, on the loopback.
    """

    port: int

    def __init__(
        self, name: str, labels: dict[str, str], port: int, app: AppStack, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("primage:app:Gateway", name, {}, opts)
        self.port = port
        KubernetesObject(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            f"{name}-policy",
            metadata={"name": name, "namespace": app.namespace, "labels": labels},
            spec={"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"]},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
