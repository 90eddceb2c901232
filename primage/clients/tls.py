"""Looking at servers' certificates."""

from __future__ import annotations

import socket
import ssl
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
