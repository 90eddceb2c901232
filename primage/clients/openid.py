"""What is said to an identity provider on behalf of a person: OpenID Connect, for a client without a secret.

https://www.rfc-editor.org/rfc/rfc8252 (native applications), https://www.rfc-editor.org/rfc/rfc7636 (PKCE),
https://www.rfc-editor.org/rfc/rfc8628 (devices)
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from primage.errors import ExitCode, PrimageError

TIMEOUT_S = 20
PATIENCE_S = 300
"""For a person to log in."""
SLOWER_S = 5
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
PAGE = "<!doctype html><meta charset=utf-8><title>primage</title><p>{}</p>"


@dataclass(frozen=True)
class Tokens:
    """What a login gives.

    Attributes:
        id_token: who somebody is, for the API server.
        refresh_token: to get the next ones with; good once.
    """

    id_token: str
    refresh_token: str

    @property
    def claims(self) -> dict[str, Any]:
        """What the token says. It came from the issuer itself, by TLS; whoever else is shown it checks its signature."""
        body = self.id_token.split(".")[1]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return claims


class Issuer:
    """An identity provider, found by its own description.

    Args:
        url: the issuer, as its tokens name it.
        client: the client that is logged in by.
        authority: file with the certificates that vouch for it; empty for the usual ones.

    Attributes:
        url: as given.

    Raises:
        PrimageError: it cannot be reached, or says that it is another one.
    """

    def __init__(self, url: str, client: str, authority: str = "") -> None:
        import requests

        self.url, self._client = url, client
        self._session = requests.Session()
        self._authority = authority
        self._about = self._asked("GET", f"{url}/.well-known/openid-configuration")
        if self._about.get("issuer") != url:
            raise PrimageError(
                f"{url} says that it is {self._about.get('issuer')!r}, and its tokens would be refused",
                todo="write the issuer into the site's file (`login.issuer`) as it names itself",
                code=ExitCode.INVALID,
            )

    def by_browser(self, show: Callable[[str], None]) -> Tokens:
        """Log in with a browser of this machine, which comes back to a port of the loopback.

        Args:
            show: given the address that a browser has to open.
        """
        (verifier, challenge), state = _pkce(), secrets.token_urlsafe(24)
        with _Answer(state) as answer:
            asked = {
                "response_type": "code",
                "client_id": self._client,
                "redirect_uri": answer.address,
                "scope": "openid",
                "state": state,
                **challenge,
            }
            show(f"{self._about['authorization_endpoint']}?{urlencode(asked)}")
            code = answer.wait(PATIENCE_S)
            address = answer.address
        return self._tokens(grant_type="authorization_code", code=code, redirect_uri=address, code_verifier=verifier)

    def by_device(self, show: Callable[[str, str], None]) -> Tokens:
        """Log in with a browser somewhere else.

        Args:
            show: given the address to open there, and the code to type.
        """
        if "device_authorization_endpoint" not in self._about:
            raise PrimageError(
                f"{self.url} does not offer a login by a code", todo="log in without --device, on a machine with a browser"
            )
        verifier, challenge = _pkce()
        asked = {"client_id": self._client, "scope": "openid", **challenge}
        given = self._asked("POST", str(self._about["device_authorization_endpoint"]), asked)
        show(str(given.get("verification_uri_complete") or given["verification_uri"]), str(given["user_code"]))
        pause, end = float(given.get("interval", SLOWER_S)), time.monotonic() + min(PATIENCE_S, float(given["expires_in"]))
        while time.monotonic() < end:
            time.sleep(pause)
            try:
                return self._tokens(grant_type=DEVICE, device_code=given["device_code"], code_verifier=verifier)
            except _WaitingError as waiting:
                pause += SLOWER_S if waiting.slower else 0
        raise _nobody()

    def refresh(self, refresh_token: str) -> Tokens:
        """The next tokens.

        Raises:
            PrimageError: the login has ended.
        """
        return self._tokens(grant_type="refresh_token", refresh_token=refresh_token)

    def forget(self, refresh_token: str) -> None:
        """End a login."""
        self._asked("POST", str(self._about["revocation_endpoint"]), {"client_id": self._client, "token": refresh_token})

    def _tokens(self, **given: str) -> Tokens:
        answer = self._asked("POST", str(self._about["token_endpoint"]), {"client_id": self._client, **given})
        try:
            return Tokens(str(answer["id_token"]), str(answer["refresh_token"]))
        except KeyError as error:
            raise PrimageError(
                f"{self.url} gave no {error.args[0]}", todo="ask its administrators what client primage-kubectl may have"
            ) from error

    def _asked(self, method: str, url: str, given: dict[str, str] | None = None) -> dict[str, Any]:
        import requests

        if not url.startswith("https://"):
            raise PrimageError(
                f"{self.url} names {url!r} as an address of its own",
                todo="tell its administrators: primage asks only https addresses for tokens",
            )
        try:
            # Given with each request: REQUESTS_CA_BUNDLE would override the session's own.
            answer = self._session.request(
                method, url, data=given, timeout=TIMEOUT_S, allow_redirects=False, verify=self._authority or True
            )
        except (requests.RequestException, OSError) as error:
            raise PrimageError(
                f"the identity provider {self.url} cannot be reached: {error}",
                todo="see whether the address in the site's file (`login`) is right and its authority's file is there",
                code=ExitCode.UNREACHABLE,
            ) from error
        if not answer.content and answer.ok:
            return {}
        try:
            said = answer.json()
        except ValueError:
            said = {}
        if not isinstance(said, dict) or not answer.ok:
            raise _refusal(self.url, answer.status_code, said if isinstance(said, dict) else {})
        return said


def _pkce() -> tuple[str, dict[str, str]]:
    """What proves later that a login was begun here, and what is said of it at the beginning."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return verifier, {"code_challenge": challenge, "code_challenge_method": "S256"}


class _WaitingError(Exception):
    """Nobody has logged in yet."""

    def __init__(self, *, slower: bool) -> None:
        super().__init__()
        self.slower = slower


def _refusal(url: str, status: int, said: dict[str, Any]) -> Exception:
    error = str(said.get("error", ""))
    if error in ("authorization_pending", "slow_down"):
        return _WaitingError(slower=error == "slow_down")
    if error == "invalid_grant":
        return PrimageError(
            f"the login has ended: {said.get('error_description', error)}", todo="log in again", code=ExitCode.UNREACHABLE
        )
    why = said.get("error_description") or error or f"HTTP {status}"
    return PrimageError(f"the identity provider {url} refuses: {why}", todo="log in again; if it stays so, ask its administrators")


def _nobody() -> PrimageError:
    return PrimageError(f"nobody has logged in within {PATIENCE_S // 60} minutes", todo="run it again")


class _Answer:
    """A server on the loopback that takes one browser's answer."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._came = threading.Event()
        self._code = self._error = ""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def address(self) -> str:
        """Where the browser has to come back to."""
        return f"http://127.0.0.1:{self._server.server_port}/callback"

    def __enter__(self) -> _Answer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, seconds: float) -> str:
        """The code that the browser brings."""
        if not self._came.wait(seconds):
            raise _nobody()
        if self._error:
            raise PrimageError(f"the login was refused: {self._error}", todo="run it again")
        return self._code

    def take(self, path: str) -> bool:
        """A request for a path; whether it is the answer to what was asked, by its state."""
        parts = urlsplit(path)
        given = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path != "/callback" or self._came.is_set():
            return False
        if not secrets.compare_digest(given.get("state", "").encode(), self._state.encode()):
            return False
        self._code, self._error = given.get("code", ""), given.get("error_description") or given.get("error", "")
        self._came.set()
        return True

    def _handler(outer) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805  # `self` is the handler's
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = outer.take(self.path)
                said = PAGE.format("You can close this page." if known else "This is not the answer to a login that is waited for.")
                self.send_response(200 if known else 400)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(said.encode())

            def log_message(self, *_: object) -> None:
                """Nothing: the code is in the path."""

        return Handler
