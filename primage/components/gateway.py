"""The ways to what people open in a browser.

A session's server listens on its pod's loopback alone, so nothing on the network reaches it, whatever enforces network
policies. `primage open` comes in through the API server, as somebody whom Kubernetes knows; browsers come in through the site's
gateway, where it has one, to the login proxy beside the server.
"""

from __future__ import annotations

import pulumi

from primage.components.app import AppStack
from primage.components.kubernetes_object import KubernetesObject
from primage.components.sessions.login_proxy import LoginProxy
from primage.contract.gateway import PROXY_PORT
from primage.contract.gateway_api import ROUTE, UPSTREAM_TLS


class Gateway(pulumi.ComponentResource):
    """Who may reach a session over the network: nobody of its namespace; through the gateway, whom its login proxy lets in.

    Args:
        labels: of the session's pod.
        proxy: the login before it; None where there is none.
        authority: what vouches for the proxy.

    Attributes:
        proxy: the same, known once what its pod mounts is there.
    """

    proxy: pulumi.Output[LoginProxy | None]

    def __init__(
        self,
        name: str,
        labels: dict[str, str],
        proxy: pulumi.Output[LoginProxy | None],
        authority: pulumi.Output[str],
        app: AppStack,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:app:Gateway", name, {}, opts)
        self._name, self._labels, self._app = name, labels, app
        spec = {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"]}
        self._declare("networking.k8s.io/v1", "NetworkPolicy", name, spec=spec)
        opened = proxy.apply(lambda found: self._open(found, authority) if found else False)
        self.proxy = pulumi.Output.all(proxy, opened).apply(lambda of: of[0])
        self.register_outputs({})

    def _open(self, proxy: LoginProxy, authority: pulumi.Output[str]) -> pulumi.Output[bool]:
        """Returns once the config map is there, which the pod mounts."""
        known = self._declare("v1", "ConfigMap", proxy.service, data=proxy.known(authority))
        port = {"name": "login", "port": PROXY_PORT, "targetPort": PROXY_PORT}
        self._declare("v1", "Service", proxy.service, spec={"selector": self._labels, "ports": [port]})
        self._declare(ROUTE.api_version, ROUTE.kind, self._name, spec=proxy.route())
        self._declare(UPSTREAM_TLS.api_version, UPSTREAM_TLS.kind, proxy.service, spec=proxy.trust())
        return known.name.apply(bool)

    def _declare(self, api_version: str, kind: str, name: str, **fields: object) -> KubernetesObject:
        return KubernetesObject(
            api_version,
            kind,
            f"{self._name}-{kind.lower()}" if kind != "NetworkPolicy" else f"{self._name}-policy",
            metadata={"name": name, "namespace": self._app.namespace, "labels": self._labels},
            opts=pulumi.ResourceOptions(parent=self),
            **fields,
        )
