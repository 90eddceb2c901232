"""The identity provider's word that a login has ended: https://openid.net/specs/openid-connect-backchannel-1_0.html#Validation"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError

from portal.clients.provider import LEEWAY_S, Provider
from portal.domain.errors import LoginRefusedError
from portal.domain.once import Once
from primage.contract.login import PORTAL_CLIENT

EVENT = "http://schemas.openid.net/event/backchannel-logout"
LONGEST = 8 * 1024
OLDEST_S = 120
"""Seconds since a token was made: it is sent at once."""


@dataclass(frozen=True)
class EndedLogin:
    """Which logins have ended.

    Attributes:
        login: the provider's name of the one; empty for all of the account's.
        account: the provider's own name for the account; empty where the login alone is named.
    """

    login: str
    account: str


class LogoutTokens:
    """Reads each once: whoever has caught one can do nothing with it.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, provider: Provider, clock: Callable[[], float]) -> None:
        self._provider = provider
        self._seen = Once(clock)

    def read(self, text: str) -> EndedLogin:
        """What a token says.

        Raises:
            LoginRefusedError: it is none of the provider's for this portal, or not of now, or was read before.
            ProviderAwayError: the provider cannot be asked by which keys it signs.
        """
        if not text or len(text) > LONGEST:
            raise LoginRefusedError("there is no token, or one that is too long")
        wanted: dict[str, Any] = {
            "iss": {"essential": True, "value": self._provider.issuer},
            "aud": {"essential": True, "value": PORTAL_CLIENT},
            "exp": {"essential": True},
            "iat": {"essential": True},
            "jti": {"essential": True},
        }
        try:
            claims = self._provider.signed(text)
            jwt.JWTClaimsRegistry(leeway=LEEWAY_S, **wanted).validate(claims)
        except (JoseError, ValueError) as error:
            raise LoginRefusedError(f"the token does not hold: {error}") from error
        found = self._ended(claims)
        if not self._seen.first(str(claims["jti"]), OLDEST_S + 2 * LEEWAY_S):
            raise LoginRefusedError("the token was read before")
        return found

    def _ended(self, claims: dict[str, Any]) -> EndedLogin:
        events = claims.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
            raise LoginRefusedError("the token does not say that a login has ended")
        if "nonce" in claims:
            raise LoginRefusedError("the token is one that somebody logs in by")
        if time.time() - float(claims["iat"]) > OLDEST_S + LEEWAY_S:
            raise LoginRefusedError("the token is an old one")
        login, account = claims.get("sid", ""), claims.get("sub", "")
        if not isinstance(login, str) or not isinstance(account, str) or not (login or account):
            raise LoginRefusedError("the token does not say whose login has ended")
        return EndedLogin(login, account)
