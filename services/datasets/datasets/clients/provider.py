"""The identity provider's word on who somebody is: the signature of their token, by the keys that the provider shows.

https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation, https://www.rfc-editor.org/rfc/rfc7517
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from datasets.domain.errors import LoginRefusedError, ProviderAwayError

TIMEOUT_S = 15
KEYS_S = 60
"""Before the provider's keys are read again because a token names one that is not known."""
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Of signatures: none that a secret which others know would make."""
LEEWAY_S = 30
LONGEST_TOKEN = 16 * 1024


class Provider:
    """The identity provider of the site.

    Args:
        audience: whom tokens have to be meant for.
        authority: file with the certificates that vouch for it; None for the usual ones.
    """

    def __init__(self, issuer: str, audience: str, authority: Path | None) -> None:
        self._issuer, self._audience, self._authority = issuer, audience, authority
        self._guard = threading.Lock()
        self._keys: KeySet | None = None
        self._read = 0.0

    def claims(self, token: str) -> dict[str, Any]:
        """What a token says.

        Raises:
            LoginRefusedError: the provider has not signed it, or for somebody else, or it has ended.
            ProviderAwayError: the provider cannot be asked by which keys it signs.
        """
        if len(token) > LONGEST_TOKEN:
            raise LoginRefusedError("the token is too long to be one")
        wanted: dict[str, Any] = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": self._audience},
            "exp": {"essential": True},
            "sub": {"essential": True},
        }
        try:
            claims = self._decoded(token).claims
            jwt.JWTClaimsRegistry(leeway=LEEWAY_S, **wanted).validate(claims)
        except (JoseError, ValueError) as error:
            raise LoginRefusedError(f"the token does not hold ({type(error).__name__})") from None
        return dict(claims)

    def _decoded(self, token: str) -> jwt.Token:
        try:
            return jwt.decode(token, self._known_keys(), algorithms=ALGORITHMS)
        except (JoseError, ValueError):
            # The provider may have changed its keys since.
            return jwt.decode(token, self._known_keys(again=True), algorithms=ALGORITHMS)

    def _known_keys(self, *, again: bool = False) -> KeySet:
        with self._guard:
            keys = self._keys
            wanted = keys is None or (again and time.monotonic() - self._read > KEYS_S)
            if wanted:
                # Whoever comes with a made-up token must not have the service wait for an answer more often than that.
                self._read = time.monotonic()
        if keys is None or wanted:
            about = self._got(f"{self._issuer}/.well-known/openid-configuration")
            if about.get("issuer") != self._issuer:
                raise ProviderAwayError(f"{self._issuer} says that it is another one")
            keys = KeySet.import_key_set(self._got(str(about.get("jwks_uri"))))  # type: ignore[arg-type]  # checked by itself
            with self._guard:
                self._keys = keys
        return keys

    def _got(self, url: str) -> dict[str, Any]:
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self._authority) if self._authority else True
            try:
                answer = session.get(url, timeout=TIMEOUT_S, allow_redirects=False)
                answer.raise_for_status()
                found = answer.json()
            except (requests.RequestException, ValueError) as error:
                raise ProviderAwayError(f"{self._issuer} does not answer ({type(error).__name__})") from error
        if not isinstance(found, dict):
            raise ProviderAwayError(f"{self._issuer} does not answer as an identity provider does")
        return found
