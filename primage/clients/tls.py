"""Looking at servers' certificates."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

from primage.errors import ExitCode, PrimageError


def certificate_end(url: str) -> datetime:
    """When the certificate a server shows ends (UTC); whether it is trusted is not asked here.

    Raises:
        PrimageError: the server does not answer.
    """
    from cryptography import x509

    parts = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname=parts.hostname) as secured,
        ):
            shown = secured.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise PrimageError(f"{url} does not answer ({error})", code=ExitCode.UNREACHABLE) from error
    return x509.load_der_x509_certificate(shown).not_valid_after_utc.astimezone(UTC)


@contextmanager
def secured_there(port: int, host: str, *, authority: str, timeout_s: float = 20) -> Iterator[ssl.SSLSocket]:
    """A connection to a server that a port of the loopback leads to.

    Args:
        host: that its certificate is for.
        authority: the certificates that vouch for it, PEM.

    Raises:
        PrimageError: no answer, or one that nobody vouches for.
    """
    try:
        context = ssl.create_default_context(cadata=authority)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=host) as secured,
        ):
            yield secured
    except OSError as error:
        raise PrimageError(f"{host} does not answer ({error})", code=ExitCode.UNREACHABLE) from error


def certificate_end_there(port: int, host: str, *, authority: str) -> datetime:
    """When the certificate ends (UTC) of a server that a port of the loopback leads to; arguments and errors as above."""
    with secured_there(port, host, authority=authority) as secured:
        ends = str((secured.getpeercert() or {})["notAfter"])
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)
