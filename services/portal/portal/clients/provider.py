"""What is said to the identity provider: OpenID Connect, the authorization code with PKCE, for a client that has a secret.

https://openid.net/specs/openid-connect-core-1_0.html, https://www.rfc-editor.org/rfc/rfc7636 (PKCE),
https://www.rfc-editor.org/rfc/rfc9207 (who sent the code)
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from cryptography.fernet import Fernet, InvalidToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from portal.domain.errors import EndedError, LoginRefusedError, ProviderAwayError
from portal.domain.sessions import Tokens
from primage.contract.login import PORTAL_CLIENT

TIMEOUT_S = 15
PATIENCE_S = 600
"""For a person to log in."""
KEYS_S = 60
"""Before the provider's keys are read again because a token names one that is not known."""
SILENT_S = 3
"""Before a provider that did not answer is asked again where its pages are."""
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Of signatures: none that the client's own secret would make."""
LEEWAY_S = 30


@dataclass(frozen=True)
class Begun:
    """A login that has begun; the browser keeps it, sealed, until it comes back.

    Attributes:
        state, nonce: tell this login from any other, to the browser and in the token.
        verifier: shows that the code was meant for who asked.
        after: path of the page that is shown then.
    """

    state: str
    nonce: str
    verifier: str
    after: str


class Provider:
    """The identity provider of the site; found by its own description, which is read when it is first needed.

    Args:
        secret: file with the client's password, which is read each time.
        redirect: where browsers come back to.
        authority: file with the certificates that vouch for it; None for the usual ones.
    """

    def __init__(self, issuer: str, secret: Path, redirect: str, authority: Path | None) -> None:
        self.issuer = issuer
        self._secret, self._redirect, self._authority = secret, redirect, authority
        self._seal = Fernet(Fernet.generate_key())
        self._guard = threading.Lock()
        self._about: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._keys_read = 0.0
        self._silent_until = 0.0

    def begin(self, after: str) -> tuple[str, str]:
        """Where to send a browser, and what it keeps meanwhile.

        Raises:
            ProviderAwayError: the provider cannot be asked where that is.
        """
        begun = Begun(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), after)
        with self._client() as client:
            url, _ = client.create_authorization_url(
                self._described()["authorization_endpoint"],
                state=begun.state,
                nonce=begun.nonce,
                code_verifier=begun.verifier,
            )
        return str(url), self._seal.encrypt(json.dumps(asdict(begun)).encode()).decode()

    def finish(self, kept: str, answer: dict[str, str]) -> tuple[Tokens, dict[str, Any], str]:
        """The tokens of a login, what the first of them says, and the path to go to.

        Args:
            kept: what the browser has kept.
            answer: what it was sent back with.

        Raises:
            LoginRefusedError: this is not the end of a login that this browser has begun, or the provider has refused it.
            ProviderAwayError: the provider cannot be asked.
        """
        begun = self._unseal(kept)
        if not secrets.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise LoginRefusedError("it belongs to another login than the one that this browser has begun")
        # https://www.rfc-editor.org/rfc/rfc9207#section-2.4
        if self._described().get("authorization_response_iss_parameter_supported") and answer.get("iss") != self.issuer:
            raise LoginRefusedError("it does not come from this site's identity provider")
        if "code" not in answer:
            raise LoginRefusedError(f"the identity provider says {answer.get('error', 'nothing')[:100]!r}")
        given = self._asked("fetch_token", code=answer["code"], code_verifier=begun.verifier, grant_type="authorization_code")
        tokens, claims = self._read(given, nonce=begun.nonce)
        return tokens, claims, begun.after

    def refresh(self, tokens: Tokens) -> tuple[Tokens, dict[str, Any]]:
        """The next tokens, and what the first of them says.

        Raises:
            EndedError: the login has ended.
            ProviderAwayError: the provider cannot be asked.
        """
        try:
            return self._read(self._asked("refresh_token", refresh_token=tokens.refresh_token))
        except LoginRefusedError as error:
            raise EndedError(str(error)) from error

    def end(self, tokens: Tokens) -> None:
        """End the login at the provider too: nobody is logged in there by it any more, in whatever browser.

        Raises:
            ProviderAwayError: the provider cannot be asked.
        """
        with self._client() as client:
            try:
                answer = client.post(
                    self._described()["end_session_endpoint"],
                    data={"client_id": PORTAL_CLIENT, "client_secret": self._password(), "refresh_token": tokens.refresh_token},
                    withhold_token=True,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                raise self._away(error) from error
        if answer.status_code not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT) and not _has_ended(answer):
            raise ProviderAwayError(f"{self.issuer} did not end the login (HTTP {answer.status_code})")

    def signed(self, token: str) -> dict[str, Any]:
        """What a token says that the provider has signed, whatever it is for.

        Raises:
            JoseError, ValueError: the provider has not.
            ProviderAwayError: it cannot be asked by which keys it signs.
        """
        return dict(self._decoded(token).claims)

    def _read(self, given: dict[str, Any], nonce: str | None = None) -> tuple[Tokens, dict[str, Any]]:
        """Tokens whose signature, issuer, audience and time hold.

        https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation
        """
        token, refresh = given.get("id_token"), given.get("refresh_token")
        if not isinstance(token, str) or not isinstance(refresh, str):
            raise LoginRefusedError("the identity provider gave no tokens for the portal")
        wanted: dict[str, Any] = {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": PORTAL_CLIENT},
            "azp": {"essential": True, "value": PORTAL_CLIENT},
            "exp": {"essential": True},
            "sub": {"essential": True},
        }
        if nonce is not None:
            wanted["nonce"] = {"essential": True, "value": nonce}
        try:
            claims = self._decoded(token).claims
            jwt.JWTClaimsRegistry(leeway=LEEWAY_S, **wanted).validate(claims)
        except (JoseError, ValueError) as error:
            raise LoginRefusedError(f"the identity provider's token does not hold: {error}") from error
        return Tokens(token, refresh, float(claims["exp"])), dict(claims)

    def _decoded(self, token: str) -> jwt.Token:
        try:
            return jwt.decode(token, self._known_keys(), algorithms=ALGORITHMS)
        except (JoseError, ValueError):
            # The provider may have changed its keys since.
            return jwt.decode(token, self._known_keys(again=True), algorithms=ALGORITHMS)

    def _known_keys(self, *, again: bool = False) -> KeySet:
        with self._guard:
            keys = self._keys
            wanted = keys is None or (again and time.monotonic() - self._keys_read > KEYS_S)
            if wanted:
                # Whoever comes with a made-up token must not have the portal wait for an answer more often than that.
                self._keys_read = time.monotonic()
        if keys is None or wanted:
            keys = KeySet.import_key_set(self._got(self._described()["jwks_uri"]))  # type: ignore[arg-type]  # checked by itself
            with self._guard:
                self._keys = keys
        return keys

    def _described(self) -> dict[str, Any]:
        with self._guard:
            about, silent = self._about, time.monotonic() < self._silent_until
        if silent:
            # Whoever comes without a login must not have the portal wait for nothing, again and again.
            raise ProviderAwayError(f"{self.issuer} did not answer a moment ago")
        if not about:
            try:
                about = self._got(f"{self.issuer}/.well-known/openid-configuration")
            except ProviderAwayError:
                with self._guard:
                    self._silent_until = time.monotonic() + SILENT_S
                raise
            if about.get("issuer") != self.issuer:
                raise ProviderAwayError(f"{self.issuer} says that it is {about.get('issuer')!r}")
            with self._guard:
                self._about = about
        return about

    def _got(self, url: str) -> dict[str, Any]:
        with self._client() as client:
            try:
                answer = client.get(url, withhold_token=True, allow_redirects=False)
                answer.raise_for_status()
                found = answer.json()
            except (requests.RequestException, ValueError) as error:
                raise self._away(error) from error
        if not isinstance(found, dict):
            raise ProviderAwayError(f"{url} does not answer as an identity provider does")
        return found

    def _asked(self, what: str, **given: str) -> dict[str, Any]:
        endpoint = self._described()["token_endpoint"]
        with self._client() as client:
            try:
                found = getattr(client, what)(endpoint, allow_redirects=False, **given)
            except OAuthError as error:
                raise LoginRefusedError(f"the identity provider says {error.error!r}: {error.description}") from error
            except (requests.RequestException, ValueError) as error:
                raise self._away(error) from error
        if not isinstance(found, dict):
            raise LoginRefusedError("the identity provider gave no tokens")
        return found

    def _client(self) -> OAuth2Session:
        client = OAuth2Session(
            PORTAL_CLIENT,
            self._password(),
            token_endpoint_auth_method="client_secret_post",  # noqa: S106  # how, not what
            scope="openid",
            redirect_uri=self._redirect,
            code_challenge_method="S256",
            default_timeout=TIMEOUT_S,
        )
        client.trust_env = False
        client.verify = str(self._authority) if self._authority else True
        return client

    def _password(self) -> str:
        try:
            return self._secret.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ProviderAwayError("the portal has no password at the identity provider yet") from error

    def _unseal(self, kept: str) -> Begun:
        try:
            return Begun(**json.loads(self._seal.decrypt(kept.encode(), ttl=PATIENCE_S)))
        except (InvalidToken, ValueError, TypeError) as error:
            raise LoginRefusedError("this browser has begun no login, or too long ago") from error

    def _away(self, error: Exception) -> ProviderAwayError:
        return ProviderAwayError(f"{self.issuer} does not answer ({type(error).__name__})")


def _has_ended(answer: requests.Response) -> bool:
    """Whether there was no such login any more: https://www.rfc-editor.org/rfc/rfc6749#section-5.2"""
    try:
        return bool(answer.status_code == HTTPStatus.BAD_REQUEST and answer.json()["error"] == "invalid_grant")
    except (ValueError, LookupError, TypeError):
        return False
