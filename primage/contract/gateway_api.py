"""Kinds of the Gateway API, each in the version that this site's controller, Contour, knows: https://gateway-api.sigs.k8s.io"""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "gateway.networking.k8s.io"


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes:
        resources: what it is called in paths and in rights.
    """

    version: str
    kind: str
    resources: str

    @property
    def api_version(self) -> str:
        """As objects have it."""
        return f"{GROUP}/{self.version}"

    @property
    def counted(self) -> str:
        """As a quota names it."""
        return f"{self.resources}.{GROUP}"


GATEWAY_CLASS = Kind("v1", "GatewayClass", "gatewayclasses")
GATEWAY = Kind("v1", "Gateway", "gateways")
ROUTE = Kind("v1", "HTTPRoute", "httproutes")
UPSTREAM_TLS = Kind("v1alpha3", "BackendTLSPolicy", "backendtlspolicies")
GRANT = Kind("v1beta1", "ReferenceGrant", "referencegrants")
SERVED = (UPSTREAM_TLS, GATEWAY_CLASS, GATEWAY, ROUTE)
"""What Contour works by, and says in the status of what became of it."""
READ = (*SERVED, GRANT)
"""What it reads whatever it is told."""
OF_MEMBERS = (ROUTE, UPSTREAM_TLS)
"""What members make."""
