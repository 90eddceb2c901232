"""The dynamic providers of this repository's programs, by the type of the resources they make.

Pulumi's own engine carries a provider inside the resource, pickled. The embedded engine never unpickles anything: what it
calls is found here, and a type that is not here is refused. A provider is imported when it is called, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from primage.clients.cluster import Ref

PREFIX = "pulumi-python:dynamic"
UNNAMED = f"{PREFIX}:Resource"
"""The type that such resources had before they had names."""
QUEUE_CREDENTIALS = f"{PREFIX}/primage:QueueCredentials"
SESSION_TOKEN = f"{PREFIX}/primage:SessionToken"
LOGIN_SECRETS = f"{PREFIX}/primage:LoginSecrets"
SERVER_CERTIFICATE = f"{PREFIX}/primage:ServerCertificate"
XDS_CERTIFICATES = f"{PREFIX}/primage:XdsCertificates"

CLIENT_CERTIFICATE = f"{PREFIX}/primage:ClientCertificate"


class Provider(Protocol):
    """What the engine calls, beside the methods of `pulumi.dynamic.ResourceProvider`."""

    def address(self, props: dict[str, Any]) -> Ref | None:
        """The object on the cluster that the resource stands for; None for one that is somewhere else."""

    def check(self, olds: dict[str, Any], news: dict[str, Any], /) -> Any:
        """As Pulumi has it, like all below."""

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any], /) -> Any:
        """Whether new inputs change the resource, and whether they mean another one."""

    def create(self, props: dict[str, Any], /) -> Any:
        """Make it."""

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any], /) -> Any:
        """Change it in place."""

    def delete(self, id: str, props: dict[str, Any], /) -> None:
        """Remove it."""


def _queue_credentials() -> Provider:
    from primage.components.queues.queue_credentials import QueueCredentialsProvider

    return QueueCredentialsProvider()


def _session_token() -> Provider:
    from primage.components.sessions.session_token import SessionTokenProvider

    return SessionTokenProvider()


def _login_secrets() -> Provider:
    from primage.components.login_secrets import LoginSecretsProvider

    return LoginSecretsProvider()


def _server_certificate() -> Provider:
    from primage.components.login_secrets import ServerCertificateProvider

    return ServerCertificateProvider()


def _xds_certificates() -> Provider:
    from primage.components.xds_certificates import XdsCertificatesProvider

    return XdsCertificatesProvider()


def _client_certificate() -> Provider:
    from primage.components.client_certificate import ClientCertificateProvider

    return ClientCertificateProvider()


PROVIDERS: dict[str, Callable[[], Provider]] = {
    QUEUE_CREDENTIALS: _queue_credentials,
    SESSION_TOKEN: _session_token,
    LOGIN_SECRETS: _login_secrets,
    SERVER_CERTIFICATE: _server_certificate,
    XDS_CERTIFICATES: _xds_certificates,
    CLIENT_CERTIFICATE: _client_certificate,
}
"""By type; a test may add one of its own."""
