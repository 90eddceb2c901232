"""What a site's own Keycloak is run with: passwords that nobody chose, and its certificate. Each is in one Secret, nowhere else."""

from __future__ import annotations

import secrets
from typing import Any

import pulumi

from primage.clients.cluster import Object
from primage.components.certificates import Authority, authority_in, ends_soon
from primage.components.generated_secret import GeneratedSecret, GeneratedSecretProvider, shown
from primage.errors import ExitCode, PrimageError
from primage.paths import named_file

ADMIN_PASSWORD, DATABASE_PASSWORD = "admin-password", "database-password"  # keys of a Secret


class LoginSecrets(GeneratedSecret, module="primage", name="LoginSecrets"):
    """A Secret with passwords under the given keys.

    Inputs: those of every such Secret, and `keys`.
    """

    def __init__(self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(LoginSecretsProvider(), name, inputs, opts)


class LoginSecretsProvider(GeneratedSecretProvider):
    """Makes such a Secret."""

    fixed = ("namespace", "secret", "keys")

    def make(self, props: dict[str, Any]) -> dict[str, str]:
        """Passwords that cannot be guessed."""
        return {str(key): secrets.token_urlsafe(32) for key in props["keys"]}


class ServerCertificate(GeneratedSecret, module="primage", name="ServerCertificate"):
    """A Secret with `tls.crt`, `tls.key` and `ca.crt`, made again by the first `up` within RENEWED_DAYS of its end.

    Inputs: those of every such Secret, `hosts` and `authority`, the folder.

    Attributes:
        generation: changes whenever the Secret is replaced.
    """

    generation: pulumi.Output[str]

    def __init__(self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(ServerCertificateProvider(), name, inputs, opts)


class ServerCertificateProvider(GeneratedSecretProvider):
    """Makes such a Secret."""

    fixed = ("namespace", "secret", "hosts", "authority")

    def make(self, props: dict[str, Any]) -> dict[str, str]:
        """A certificate for these hosts."""
        return _authority(props).issue([str(host) for host in props["hosts"]])

    def outdated(self, found: Object) -> bool:
        """Whether there is no certificate in it, or one that ends soon."""
        certificate = shown(found, "tls.crt")
        return not certificate or ends_soon(certificate)


def _authority(props: dict[str, Any]) -> Authority:
    folder = named_file(str(props["authority"]))
    try:
        return authority_in(folder)
    except (OSError, ValueError) as error:
        raise PrimageError(
            f"the authority of the site's certificates cannot be read: {error}",
            where=str(folder),
            todo="put its ca.crt and ca.key there, or name a certificate's Secret with `certificate` in its place",
            code=ExitCode.INVALID,
        ) from error
