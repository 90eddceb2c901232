"""What every request has to be and every answer says: before and after all pages, so that none can forget it.

https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html, https://www.w3.org/TR/CSP3/
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datasets.domain.errors import RefusedError
from datasets.log import log

MOST_BYTES = 1024 * 1024
"""Of a form or document: a whole case is some thousands."""
LONGEST_QUERY = 16 * 1024
LONGEST_LOGGED = 200
BODY_S = 20.0
MOST_IMAGE, IMAGE_S = 256 * 1024 * 1024, 600.0
"""The same for images."""
IMAGES_AT_A_TIME = 4
"""That are read and in memory."""
IMAGES, IMAGE_TYPE = re.compile(r"/api/vos/([^/]+)/images/[^/]+"), "application/dicom"
RETRY_S = "30"
"""Before somebody asks again whom the service has had no turn for."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT"})
SAFE = frozenset({"GET", "HEAD"})
HEALTH = "/health"
"""Asked by Kubernetes, by the pod's address."""
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
ANSWERED = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Around the whole application.

    Args:
        origin: the service's own, as browsers name it.
        sends: whether whoever asks may send a VO images; it may take a while.
    """

    def __init__(self, app: ASGIApp, origin: str, sends: Callable[[Scope, str], bool]) -> None:
        self._app, self._origin, self._host, self._sends = app, origin, origin.partition("://")[2], sends
        self._images = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._require_own(scope)
            image = IMAGES.fullmatch(scope["path"])
            if image and Headers(scope=scope).get("content-type") == IMAGE_TYPE:
                await self._image(scope, receive, send, image[1])
                return
            arrived = await _arrived(receive, MOST_BYTES, BODY_S)
        except RefusedError as refusal:
            log.warning("%r is refused: %s", scope["path"][:LONGEST_LOGGED], refusal)
            answer = JSONResponse({"what": str(refusal)}, refusal.status)
            if refusal.status == 503:
                answer.headers["Retry-After"] = RETRY_S
            await answer(scope, receive, _saying(send))
            return
        await self._app(scope, arrived, _saying(send))

    async def _image(self, scope: Scope, receive: Receive, send: Send, vo: str) -> None:
        """Read an image of somebody who may send it; without it, the page itself says to all others why it is not taken."""
        if not await run_in_threadpool(self._sends, scope, vo):
            await self._app(scope, _with(b"", receive), _saying(send))
            return
        if self._images >= IMAGES_AT_A_TIME:
            raise RefusedError(503, "other images are arriving: send this again in half a minute")
        self._images += 1
        try:
            await self._app(scope, await _arrived(receive, MOST_IMAGE, IMAGE_S), _saying(send))
        finally:
            self._images -= 1

    def _require_own(self, scope: Scope) -> None:
        headers, method = Headers(scope=scope), scope["method"]
        if method not in METHODS:
            raise RefusedError(405, f"{method[:20]} is not answered here")
        if len(scope["query_string"]) > LONGEST_QUERY:
            raise RefusedError(414, "the address is too long")
        if scope["path"] != HEALTH and headers.getlist("host") != [self._host]:
            raise RefusedError(421, f"the service is at {self._origin}, and at no other name")
        # A proxy adds the login of whoever's browser asks, so what another page has a browser send has to be told apart. Both
        # headers are the browser's own words, which no page can change; a program sends neither.
        own = headers.get("origin", self._origin) == self._origin and headers.get("sec-fetch-site", "same-origin") == "same-origin"
        if method not in SAFE and not own:
            raise RefusedError(403, "this was not sent from a page of this service")


async def _arrived(receive: Receive, most: int, seconds: float) -> Receive:
    """The same, with all of a body read.

    Raises:
        RefusedError: it is too long, in bytes or in time.
    """
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    break  # who asked has gone
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > most:
                    raise RefusedError(413, f"what is sent has at most {most} bytes")
    except TimeoutError:
        raise RefusedError(408, f"what is sent arrives within {seconds:.0f} s") from None
    return _with(message if more else bytes(body), receive)


def _with(first: Message | bytes, receive: Receive) -> Receive:
    """What comes: a message, or a body, before all others."""
    coming = iter([{"type": "http.request", "body": first, "more_body": False} if isinstance(first, bytes) else first])

    async def arrived() -> Message:
        return next(coming, None) or await receive()

    return arrived


def _saying(send: Send) -> Send:
    async def saying(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in ANSWERED.items():
                headers[name] = value
        await send(message)

    return saying
