"""What opens an interactive session, in one Secret and nowhere else: a token, or the keys of the login before it."""

from __future__ import annotations

import secrets
from typing import Any

import pulumi

from primage.clients.cluster import Object
from primage.components.certificates import ends_soon, new_authority
from primage.components.generated_secret import GeneratedSecret, GeneratedSecretProvider, shown
from primage.contract.gateway import COOKIE_SECRET

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"  # keys in it
"""Of a login proxy: the certificate that the gateway knows it by."""


class SessionToken(GeneratedSecret, module="primage", name="SessionToken"):
    """A Secret with the key `token`; or, for a login proxy that goes by a name, with what that has.

    Args:
        hosts: the proxy's name; empty where there is none.
    """

    authority: pulumi.Output[str]
    """What vouches for the proxy's certificate, PEM; empty without one."""

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: pulumi.Input[str],
        context: pulumi.Input[str],
        namespace: pulumi.Input[str],
        secret: str,
        hosts: pulumi.Input[list[str]],
        labels: dict[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        place = {"kubeconfig": kubeconfig, "context": context, "namespace": namespace, "secret": secret}
        inputs = {**place, "hosts": hosts, "labels": labels, "authority": None}
        super().__init__(SessionTokenProvider(), name, inputs, opts)


class SessionTokenProvider(GeneratedSecretProvider):
    """Makes such a Secret."""

    fixed = ("namespace", "secret", "hosts")

    def make(self, props: dict[str, Any]) -> dict[str, str]:
        """A token that cannot be guessed; or such a key, and a certificate of an authority that is thrown away."""
        if not (hosts := [str(host) for host in props["hosts"]]):
            return {"token": secrets.token_urlsafe(32)}
        return {COOKIE_SECRET: secrets.token_urlsafe(32), **new_authority("primage-session").issue(hosts)}

    def known_of(self, found: Object) -> dict[str, str]:
        """The authority that vouches for its certificate."""
        return {"authority": shown(found, AUTHORITY)}

    def outdated(self, found: Object) -> bool:
        """Whether there is a certificate in it that ends soon."""
        certificate = shown(found, CERTIFICATE)
        return bool(certificate) and ends_soon(certificate)
