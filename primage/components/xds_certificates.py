"""What a gateway's two halves know each other by: the one that is told and the one that tells, each with a certificate."""

from __future__ import annotations

from typing import Any

import pulumi

from primage.clients.cluster import Object
from primage.components.certificates import ends_soon, new_authority
from primage.components.generated_secret import GeneratedSecret, GeneratedSecretProvider, shown

CONTOUR, ENVOY = "contour", "envoy"
"""Who they are, and what each one's keys in the Secret begin with. Envoy asks for a server of that name."""


class XdsCertificates(GeneratedSecret, module="primage", name="XdsCertificates"):
    """A Secret with `ca.crt`, and each half's `.crt` and `.key`, of an authority that is thrown away; made again before they end.

    Inputs: those of every such Secret.

    Attributes:
        generation: changes whenever the Secret is replaced. Who has read an earlier one has to start again: it knows neither
            the other's certificate nor what vouches for it.
    """

    generation: pulumi.Output[str]

    def __init__(self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(XdsCertificatesProvider(), name, inputs, opts)


class XdsCertificatesProvider(GeneratedSecretProvider):
    """Makes such a Secret."""

    def make(self, props: dict[str, Any]) -> dict[str, str]:  # noqa: ARG002
        """Both, and what vouches for them."""
        authority = new_authority("primage gateway")
        made = {"ca.crt": authority.pem}
        for who in (CONTOUR, ENVOY):
            issued = authority.issue([who])
            made |= {f"{who}.crt": issued["tls.crt"], f"{who}.key": issued["tls.key"]}
        return made

    def outdated(self, found: Object) -> bool:
        """Whether one of them is missing, or ends soon."""
        certificates = [shown(found, f"{who}.crt") for who in (CONTOUR, ENVOY)]
        return not all(certificates) or any(map(ends_soon, certificates))
