"""What the one client of a server proves itself with, where the server knows no passwords."""

from __future__ import annotations

from typing import Any

import pulumi

from primage.clients.cluster import Object
from primage.components.certificates import ends_soon, new_authority
from primage.components.generated_secret import GeneratedSecret, GeneratedSecretProvider, shown
from primage.contract.records import AUTHORITY_KEY, CLIENT_KEY


class ClientCertificate(GeneratedSecret, module="primage", name="ClientCertificate"):
    """A Secret with `client.pem`, certificate and key, and `ca.crt`, an authority that has signed nothing else and is thrown away.

    It is made again before the certificate ends. Inputs: those of every such Secret, and `client`, a name.

    Attributes:
        generation: changes whenever the Secret is replaced; a server that has read an earlier one has to start again.
    """

    generation: pulumi.Output[str]

    def __init__(self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(ClientCertificateProvider(), name, inputs, opts)


class ClientCertificateProvider(GeneratedSecretProvider):
    """Makes such a Secret."""

    fixed = ("namespace", "secret", "client")

    def make(self, props: dict[str, Any]) -> dict[str, str]:
        """The certificate with its key, and what vouches for it."""
        issued = new_authority(f"{props['secret']} of one site").issue([str(props["client"])])
        return {AUTHORITY_KEY: issued["ca.crt"], CLIENT_KEY: issued["tls.crt"] + issued["tls.key"]}

    def outdated(self, found: Object) -> bool:
        """Whether there is no certificate in it, or one that ends soon."""
        certificate = shown(found, CLIENT_KEY)
        return not certificate or ends_soon(certificate)
