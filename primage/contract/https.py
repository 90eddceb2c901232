"""Addresses of servers that are reached by TLS, as settings write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from primage.contract.spelling import like

HTTPS_PORT = 443
_ORIGIN = r"https://[a-z0-9.-]+(:[0-9]{1,5})?"
_URL = rf"{_ORIGIN}(/[A-Za-z0-9._~-]+)*"

Origin = Annotated[str, like(_ORIGIN, "https://host or https://host:port, with nothing after it")]
HttpsUrl = Annotated[str, like(_URL, "https://host/path, with no / at the end")]
RealmUrl = Annotated[str, like(rf"{_URL}/realms/[A-Za-z0-9._-]+", "https://host/realms/name, with no / at the end")]


class Place(NamedTuple):
    """Where a server is."""

    host: str
    port: int


def place_of(url: str) -> Place:
    """Where such an address leads to."""
    host, _, port = url.removeprefix("https://").partition("/")[0].partition(":")
    return Place(host, int(port or HTTPS_PORT))


class Opened:
    """Of whatever says where people open it, in a field `url`."""

    if TYPE_CHECKING:  # pydantic would take it for a field of its own, before all others
        url: str

    @property
    def host(self) -> str:
        """The host that people open, without its port."""
        return place_of(self.url).host

    @property
    def port(self) -> int:
        """Its port."""
        return place_of(self.url).port
