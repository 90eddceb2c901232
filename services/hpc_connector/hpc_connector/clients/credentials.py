"""What Secret `backend-<name>` holds: how a backend is logged in to."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncssh

from hpc_connector.domain.errors import UnavailableError
from hpc_connector.domain.text import readable

SECRET_BYTES = 64 * 1024
"""Of each key of a backend's Secret: the longest are chains of certificates, of a few kB each."""


@dataclass(frozen=True)
class Credentials:
    """What Secret `backend-<name>` holds.

    Attributes:
        username: the account that the jobs of this namespace are mapped to.
        private_key, certificate: OpenSSH; the certificate may be empty.
        known_hosts: the login node's pinned host keys.
        proxy: a grid proxy credential, PEM; may be empty.
        token: for slurmrestd, a JSON Web Token; may be empty.
        authority: certificates that slurmrestd's own is checked against, PEM; empty for the usual ones.
    """

    username: str
    private_key: bytes
    certificate: bytes
    known_hosts: bytes
    proxy: bytes
    token: str = ""
    authority: str = ""

    @classmethod
    def of(cls, data: dict[str, bytes]) -> Credentials:
        """Raises UnavailableError when something is missing, or is not what it must be."""
        missing = [key for key in ("username", "ssh-privatekey", "known_hosts") if not data.get(key, b"").strip()]
        if missing:
            raise UnavailableError("CredentialsUnfit", f"the backend's Secret has no {' and no '.join(missing)}")
        if long := [key for key, value in data.items() if len(value) > SECRET_BYTES]:
            raise UnavailableError("CredentialsUnfit", f"the backend's Secret has more than {SECRET_BYTES} bytes in {long[0]}")
        found = cls(
            username=_word(data, "username", r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}"),
            private_key=data["ssh-privatekey"],
            certificate=data.get("ssh-certificate", b""),
            known_hosts=data["known_hosts"],
            proxy=data.get("proxy", b""),
            token=_word(data, "slurm-token", r"[A-Za-z0-9._-]*"),
            authority=_word(data, "ca.crt", r"[\x09\x0a\x0d\x20-\x7e]*"),
        )
        try:
            found.expires()
            asyncssh.import_known_hosts(found.known_hosts.decode())
        except Exception as error:  # the parsers of three libraries, none of which says all that it may raise
            words = f"a certificate or the known_hosts in the backend's Secret cannot be read: {error}"
            raise UnavailableError("CredentialsUnfit", readable(words, 300)) from error
        return found

    def expires(self) -> datetime | None:
        """When the first of them ends; None when none does. A plain key does not."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_ssh_public_identity

        ends = []
        if self.certificate.strip():
            identity: Any = load_ssh_public_identity(self.certificate.strip())
            ends.append(_time(identity.valid_before))
        if self.proxy.strip():
            ends += [item.not_valid_after_utc for item in x509.load_pem_x509_certificates(self.proxy)]
        if self.token:
            ends.append(_token_end(self.token))
        return min((end for end in ends if end), default=None)


def _word(data: dict[str, bytes], key: str, pattern: str) -> str:
    text = data.get(key, b"").decode("ascii", "replace").strip()
    if not re.fullmatch(pattern, text, re.ASCII):
        raise UnavailableError("CredentialsUnfit", f"the backend's Secret holds in {key} what cannot be one")
    return text


def _time(seconds: Any) -> datetime | None:
    """A time in seconds since 1970; None for what lies beyond all calendars, which is never."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError, TypeError):
        return None


def _token_end(token: str) -> datetime | None:
    """Claim `exp` of a JSON Web Token (RFC 7519), which is not verified here: Slurm does."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return _time(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, RecursionError):
        return None
