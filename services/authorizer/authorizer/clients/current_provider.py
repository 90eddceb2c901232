"""The identity provider that a site's offer names, which may name another one tomorrow."""

from __future__ import annotations

from pathlib import Path

from authorizer.clients.keycloak import Keycloak
from primage.contract.login import LoginConfig


class CurrentProvider:
    """Keeps one client, with its connections and its token, for as long as the offer says the same of the login.

    Args:
        folder: with the secret for the identity provider.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: tuple[LoginConfig, Keycloak] | None = None

    def of(self, login: LoginConfig | None) -> Keycloak | None:
        """The one of this login; None where nobody logs in."""
        if login is None:
            self._known = None
            return None
        if self._known is None or self._known[0] != login:
            self._known = login, Keycloak(login, self._folder)
        return self._known[1]
