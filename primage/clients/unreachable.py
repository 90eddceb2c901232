"""Why a server could not be reached, in words: libraries say it in names of their own exceptions."""

from __future__ import annotations

import http.client
import ssl

BROKE = "the connection broke"


def in_words(error: BaseException) -> str:
    """A few words for what a connection failed of; the library's own only where there are none."""
    import urllib3.exceptions as urllib3
    from websocket import WebSocketBadStatusException, WebSocketConnectionClosedException, WebSocketTimeoutException

    match error:
        case urllib3.MaxRetryError(reason=BaseException() as reason):
            return in_words(reason)
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message}"
        case urllib3.NameResolutionError():
            return "its name is not known"
        case urllib3.NewConnectionError() | ssl.SSLError() | urllib3.SSLError() if cause := _cause(error):
            return in_words(cause)
        case TimeoutError() | urllib3.TimeoutError() | WebSocketTimeoutException():
            return "it did not answer in time"
        case WebSocketBadStatusException():
            return f"it answers with HTTP {error.status_code}"
        case WebSocketConnectionClosedException() | urllib3.ProtocolError() | ConnectionResetError() | BrokenPipeError():
            return BROKE
        case OSError() if error.strerror:
            return error.strerror.lower()
        case _:
            return _as_the_library_says(error)


def _cause(error: BaseException) -> BaseException | None:
    """What an error is about: urllib3 has it as its cause, or as its only argument."""
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
    return error.__cause__ or inner


def _as_the_library_says(error: BaseException) -> str:
    if isinstance(error, http.client.HTTPException):
        return BROKE
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
