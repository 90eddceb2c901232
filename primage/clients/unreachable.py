"""Why a server could not be reached, in words: libraries say it in names of their own exceptions."""

from __future__ import annotations

import http.client
import socket
import ssl

BROKE = "the connection broke"


def in_words(error: BaseException) -> str:
    """Say in a few words why a connection failed, in the library's own words only where there are no others."""
    from urllib3 import exceptions
    from websocket import (
        WebSocketAddressException,
        WebSocketBadStatusException,
        WebSocketConnectionClosedException,
        WebSocketTimeoutException,
    )

    match error:
        case exceptions.MaxRetryError(reason=BaseException() as reason):
            return in_words(reason)
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {(error.reason or 'no reason given').replace('_', ' ').lower()}"
        case socket.gaierror() | exceptions.NameResolutionError() | WebSocketAddressException():
            return "its name cannot be looked up"
        case exceptions.NewConnectionError() | exceptions.SSLError() if cause := _cause(error):
            return in_words(cause)
        case TimeoutError() | exceptions.TimeoutError() | WebSocketTimeoutException():
            return "it did not answer in time"
        case WebSocketBadStatusException():
            return f"it answers with HTTP {error.status_code}"
        case WebSocketConnectionClosedException() | exceptions.ProtocolError() | ConnectionResetError() | BrokenPipeError():
            return BROKE
        case http.client.HTTPException():
            return BROKE
        case OSError() if error.strerror:
            return error.strerror.lower()
        case _:
            return f"{type(error).__name__}: {error}".removesuffix(": ")


def _cause(error: BaseException) -> BaseException | None:
    """What an error is about: urllib3 has it as its cause, or as its only argument."""
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
    return error.__cause__ or inner
