"""A page on this machine, asked for once."""

from __future__ import annotations

import http.client

from primage.clients.unreachable import in_words
from primage.errors import ExitCode, PrimageError


def status_of(url: str, *, timeout_s: float) -> int:
    """The HTTP status of a page on loopback (`http://127.0.0.1:…`).

    Raises:
        PrimageError: no answer.
    """
    address, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("GET", f"/{path}")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise PrimageError(f"no answer: {in_words(error)}", code=ExitCode.UNREACHABLE) from error
    finally:
        connection.close()
