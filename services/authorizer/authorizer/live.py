"""What is there of tenants' objects, as the watches have told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from authorizer.domain.errors import WaitingError
from authorizer.domain.objects import KINDS, Address, Kind, address_of, owner_of
from authorizer.domain.short_of import short_of
from primage.contract.tenant_objects.objects import Object

PATIENCE_S = 5
"""For a claim's volume or a namespace's end: then its status tells, and it is tried again."""


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
        self._news = asyncio.Condition()

    def note(self, obj: Object, *, deleted: bool = False) -> None:
        """An object is there, or is not any more, as a watch tells."""
        address, theirs = address_of(obj), self._there.setdefault(owner_of(obj), set())
        self._short.pop(address, None)
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
        self._listed.add(kind)
        if self._listed.issuperset(KINDS):
            self.complete.set()

    def of(self, owner: str) -> list[Address]:
        """All of a tenant, by the name of its namespace."""
        return sorted(self._there.get(owner, ()))

    def short_of(self, addresses: Iterable[Address]) -> str:
        """What these objects are short of, in words; empty where all are ready."""
        return "; ".join(self._short[address] for address in addresses if address in self._short)

    async def tell(self) -> None:
        """Wake whoever waits for news."""
        async with self._news:
            self._news.notify_all()

    async def until(self, reached: Callable[[], bool], why: Callable[[], str], patience_s: float = PATIENCE_S) -> None:
        """Return once something is so; raise WaitingError, with the reason, where that takes too long."""
        try:
            async with asyncio.timeout(patience_s), self._news:
                await self._news.wait_for(reached)
        except TimeoutError:
            raise WaitingError(why()) from None


def _version(obj: Object) -> int:
    """Grows with every change: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions."""
    return int(obj["metadata"]["resourceVersion"])
