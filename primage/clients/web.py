"""A page, asked for once."""

from __future__ import annotations

import base64
import http.client
import ssl
from urllib.parse import urlsplit

from primage.clients.tls import secured_there
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


def answer_of(url: str, *, authority: str = "", timeout_s: float = 20) -> tuple[int, str]:
    """The HTTP status of a page (`https://…`), and where it leads to, which is not followed; empty where it leads nowhere.

    Args:
        authority: file with the certificates that vouch for the server; empty for the usual ones.

    Raises:
        PrimageError: no answer, or one that nobody vouches for.
    """
    parts = urlsplit(url)
    try:
        context = ssl.create_default_context(cafile=authority or None)
        connection = http.client.HTTPSConnection(parts.netloc, timeout=timeout_s, context=context)
        try:
            connection.request("GET", parts.path or "/")
            answer = connection.getresponse()
            return answer.status, answer.getheader("Location") or ""
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise PrimageError(f"{url} does not answer: {in_words(error)}", code=ExitCode.UNREACHABLE) from error


def status_there(
    port: int, host: str, path: str, *, authority: str, login: tuple[str, str] | None = None, timeout_s: float = 20
) -> int:
    """The HTTP status of a page of a server that a port of the loopback leads to.

    Args:
        host: that its certificate is for.
        authority: the certificates that vouch for it, PEM.
        login: name and password; None for nobody's.

    Raises:
        PrimageError: no answer, or one that nobody vouches for.
    """
    headers = {"Host": host, "Connection": "close"}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"
    with secured_there(port, host, authority=authority, timeout_s=timeout_s) as secured:
        connection = http.client.HTTPConnection(host, timeout=timeout_s)
        connection.sock = secured
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise PrimageError(f"{host} does not answer: {in_words(error)}", code=ExitCode.UNREACHABLE) from error
