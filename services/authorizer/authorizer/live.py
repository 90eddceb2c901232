"""What is there of tenants' objects, as the watches have told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from authorizer.domain.errors import WaitingError
from authorizer.domain.objects import KINDS, Address, Kind, address_of, owner_of
from authorizer.domain.short_of import short_of
from primage.contract.tenant_objects.objects import Object

PATIENCE_S, FOR_EACH_S = 5.0, 0.5
"""For a claim's volume or a namespace's end, and more for each other tenant that waits: then a status tells."""


class LiveObjects:
    """Addresses, whose each is, and what it is short of; not the objects themselves, of which there are many.

    Attributes:
        complete: set once every kind has been listed: until then, what is not known may be there nevertheless.
    """

    def __init__(self) -> None:
        self.complete = asyncio.Event()
        self._there: dict[str, set[Address]] = {}
        self._short: dict[Address, str] = {}
        self._versions: dict[Address, int] = {}
        self._listed: set[Kind] = set()
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def note(self, obj: Object, *, deleted: bool = False) -> None:
        """An object is there, or is not any more, as a watch tells."""
        owner, address = owner_of(obj), address_of(obj)
        theirs = self._there.setdefault(owner, set())
        self._short.pop(address, None)
        self._tell(owner)
        if deleted:
            theirs.discard(address)
            self._versions.pop(address, None)
            return
        theirs.add(address)
        self._versions[address] = _version(obj)
        if why := short_of(obj):
            self._short[address] = why

    def note_answer(self, obj: Object) -> None:
        """An object is there, as a request of our own was answered: that is old news where a watch has told of a later change."""
        if _version(obj) >= self._versions.get(address_of(obj), 0):
            self.note(obj)

    def known(self, kind: Kind) -> set[Address]:
        """All of a kind."""
        return {address for theirs in self._there.values() for address in theirs if address.kind is kind}

    def listed(self, kind: Kind, gone: Iterable[Address]) -> None:
        """A kind has been listed from end to end, and these were not there any more."""
        missing = set(gone)
        for theirs in self._there.values():
            theirs -= missing
        for address in missing:
            self._versions.pop(address, None)
        if missing:
            for owner in self._waiting:
                self._tell(owner)
        self._listed.add(kind)
        if self._listed.issuperset(KINDS):
            self.complete.set()

    def of(self, owner: str) -> list[Address]:
        """All of a tenant, by the name of its namespace."""
        return sorted(self._there.get(owner, ()))

    def short_of(self, addresses: Iterable[Address]) -> str:
        """What these objects are short of, in words; empty where all are ready."""
        return "; ".join(self._short[address] for address in addresses if address in self._short)

    def _tell(self, owner: str) -> None:
        """Wake whoever waits for news of a tenant; news of all the others would wake everybody for nothing."""
        for news in self._waiting.get(owner, ()):
            news.set()

    async def until(self, owner: str, reached: Callable[[], bool], why: Callable[[], str]) -> None:
        """Return once something of a tenant's is so; raise WaitingError, with the reason, where that takes too long.

        Kubernetes binds one claim after the other: the more tenants wait, the longer each does, and a new try makes it no shorter.
        """
        news, begun = asyncio.Event(), asyncio.get_running_loop().time()
        self._waiting.setdefault(owner, set()).add(news)
        try:
            while not reached():
                news.clear()
                patience = PATIENCE_S + (len(self._waiting) - 1) * FOR_EACH_S
                if (left := begun + patience - asyncio.get_running_loop().time()) <= 0:
                    raise WaitingError(why())
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), left)
        finally:
            self._waiting[owner].discard(news)
            if not self._waiting[owner]:
                del self._waiting[owner]


def _version(obj: Object) -> int:
    """Grows with every change: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions."""
    return int(obj["metadata"]["resourceVersion"])
