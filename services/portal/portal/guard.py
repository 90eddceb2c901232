"""What every request has to be and every answer says, whatever page it is: before and after the pages, so that none can forget it.

https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html,
https://www.w3.org/TR/CSP3/, https://fetch.spec.whatwg.org/#origin-header
"""

from __future__ import annotations

import asyncio
import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portal.domain.errors import RefusedError
from primage.contract.login import LOGIN_ENDED

MOST_BYTES = 128 * 1024
"""Of a form: a whole application's settings are a few thousand."""
LONGEST_QUERY = 4096
LONGEST_LOGGED = 200
"""Letters of a refused request's path."""
BODY_S = 20.0
"""For a form to arrive: who sends one byte by byte would keep a place that others wait for."""
TOLD_BY_THE_PROVIDER = frozenset({LOGIN_ENDED})
"""Forms that no page sends: what they hold is signed."""
HEALTH = "/health"
"""Asked by Kubernetes, by the pod's address."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
ANSWERED = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` browsers would send `Origin: null` with forms.
    "Referrer-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
log = logging.getLogger("portal")


class Guard:
    """Around the whole application.

    Args:
        origin: the portal's own, as browsers name it.
    """

    def __init__(self, app: ASGIApp, origin: str) -> None:
        self._app = app
        self._origin = origin
        self._host = origin.partition("://")[2]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._require_own(scope)
            arrived = await _arrived(receive)
        except RefusedError as refusal:
            log.warning("%r is refused: %s", scope["path"][:LONGEST_LOGGED], refusal)
            await _plain(refusal)(scope, receive, _saying(send))
            return
        await self._app(scope, arrived, _saying(send))

    def _require_own(self, scope: Scope) -> None:
        """Refuse what no page of the portal asks for."""
        headers, method = Headers(scope=scope), scope["method"]
        if method not in {"GET", "HEAD", "POST"}:
            raise RefusedError(405, f"{method} is not answered here")
        if len(scope["query_string"]) > LONGEST_QUERY:
            raise RefusedError(414, "the address is too long")
        if scope["path"] != HEALTH and headers.getlist("host") != [self._host]:
            raise RefusedError(421, f"the portal is at {self._origin}, and at no other name")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > MOST_BYTES:
            raise RefusedError(413, f"a form has at most {MOST_BYTES} bytes")
        if method == "POST":
            # Both are the browser's own words, which no page can change.
            own = headers.getlist("origin") == [self._origin] and headers.get("sec-fetch-site", "same-origin") == "same-origin"
            if not own and scope["path"] not in TOLD_BY_THE_PROVIDER:
                raise RefusedError(403, "this form was not sent from a page of the portal")
            if headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
                raise RefusedError(415, "the portal takes plain forms only")


async def _arrived(receive: Receive) -> Receive:
    """The same, with all of a body read: whoever sends one slowly has nobody else wait, for a turn is taken only then.

    Raises:
        RefusedError: it is too long, in bytes or in time.
    """
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_S):
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    break  # the browser has gone
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MOST_BYTES:
                    raise RefusedError(413, f"a form has at most {MOST_BYTES} bytes")
    except TimeoutError:
        raise RefusedError(408, f"a form arrives within {BODY_S:.0f} s") from None
    coming = iter([message if more else {"type": "http.request", "body": bytes(body), "more_body": False}])

    async def arrived() -> Message:
        return next(coming, None) or await receive()

    return arrived


def _saying(send: Send) -> Send:
    async def saying(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in ANSWERED.items():
                headers.setdefault(name, value)
        await send(message)

    return saying


def _plain(refusal: RefusedError) -> PlainTextResponse:
    return PlainTextResponse(f"{refusal}.\n", refusal.status)
