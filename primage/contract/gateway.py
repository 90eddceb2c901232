"""The way in for browsers: each tenant's sessions are below a host of its own, so that pages of two never share an origin.

https://gateway-api.sigs.k8s.io
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from primage.contract.addresses import Addresses
from primage.contract.certified import Certified
from primage.contract.https import HTTPS_PORT
from primage.contract.outputs import Settings, SomeQuantity
from primage.contract.spelling import DnsLabel, VoName, like

GATEWAY = "gateway"
"""The Gateway object in the system's namespace, and the label of the pods that browsers' connections come from."""
LISTENER = "https"
PROXY_PORT = 4180
"""Where a session's login proxy listens; nothing but the gateway reaches it."""
LOGIN_CONTAINER = "login"
"""The proxy, in a session's pod."""
COOKIE_SECRET = "cookie-secret"  # noqa: S105  # a key in a Secret
"""What the Secret of a session has, in place of a token, where a login proxy stands before it."""


class ContourConfig(Settings):
    """Contour and Envoy, which the site runs itself: https://projectcontour.io"""

    kind: Literal["contour"] = Field(description="What does the gateway's work.")
    image: str = Field(default="primage/contour:1", min_length=1, description="Image of Contour (images/contour).")
    envoy_image: str = Field(default="primage/envoy:1", min_length=1, description="Image of Envoy (images/envoy).")
    node_port: int | None = Field(
        default=None,
        ge=30000,
        le=32767,
        description="Port on every node that leads to it; empty where something else leads to Service gateway.",
    )
    memory: SomeQuantity = Field(default="256Mi", description="The most memory that Envoy may take.")


class ExistingConfig(Settings):
    """A controller of the Gateway API that the cluster has already."""

    kind: Literal["existing"] = Field(description="What does the gateway's work.")
    class_name: DnsLabel = Field(description="Its GatewayClass.")
    namespace: DnsLabel = Field(description="Namespace of the pods that it sends requests from.")
    labels: dict[str, Annotated[str, like(r"[A-Za-z0-9._-]{1,63}", "a label's value")]] = Field(
        min_length=1, description="Labels of those pods: nobody else reaches a session."
    )


class GatewayConfig(Certified, Addresses):
    """Where members' sessions open in a browser, after a login."""

    domain: VoName = Field(
        description="Sessions open at https://<namespace>.<domain>: the name server has to lead all names below it to the gateway. "
        "No other page with a login may be below it."
    )
    port: int = Field(default=HTTPS_PORT, ge=1, le=65_535, description="Port that browsers use.")
    controller: ContourConfig | ExistingConfig = Field(discriminator="kind", description="What does the gateway's work.")
    proxy_image: str = Field(
        default="primage/oauth2-proxy:1",
        min_length=1,
        description="Image of the login proxy before each session (images/oauth2-proxy).",
    )

    @property
    def certificate_secret(self) -> str:
        """The Secret that has its certificate, for all names one label below the domain."""
        return self.certificate or "gateway-certificate"
