"""Where a tenant's sessions open in a browser."""

from __future__ import annotations

from primage.contract.https import HTTPS_PORT


def base_path(instance: str) -> str:
    """What all pages of a session are below."""
    return f"/{instance}/"


class Addresses:
    """Of whatever says which domain and port a site's sessions are at.

    Each tenant has a host of its own, so that pages of two never share an origin; a session is a path there.
    """

    domain: str
    port: int

    def host(self, namespace: str) -> str:
        """The host of a tenant's sessions."""
        return f"{namespace}.{self.domain}"

    def origin(self, namespace: str) -> str:
        """Scheme, host and port of a tenant's sessions."""
        return f"https://{self.host(namespace)}{'' if self.port == HTTPS_PORT else f':{self.port}'}"

    def address(self, namespace: str, instance: str) -> str:
        """Where one session opens."""
        return f"{self.origin(namespace)}{base_path(instance)}"

    def logs_in(self, namespace: str, instance: str = "") -> str:
        """What the login pages of one session are below, or of all of a tenant's."""
        return f"{self.origin(namespace)}{LOGIN_PAGES}/{instance}"


LOGIN_PAGES = "/oauth2"
"""Path that the pages of login proxies are below, each in a folder called as its session: nothing else is served there."""
