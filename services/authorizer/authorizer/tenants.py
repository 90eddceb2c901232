"""Tenants as they should be, and how each is made so, kept so, and taken away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from authorizer.clients.folders import Folders
from authorizer.clients.kube import Kube
from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.objects import (
    BINDING,
    CLAIM,
    KINDS,
    NAMESPACE,
    VOLUME,
    Address,
    Kind,
    Object,
    address_of,
    differs,
    owner_of,
)
from authorizer.domain.ownership import has, require_own
from authorizer.domain.short_of import short_of
from primage.contract.offer import SiteOffer
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import everything
from primage.contract.tenant_objects.folders import folders

PATIENCE_S = 120
"""For a claim's volume and a connector's pod, before what is waited for is told and another try is made."""
NO_OFFER = "the site has not said yet what it offers"
LOOKED_AT = 32
"""Tenants whose objects are kept at hand."""
KEPT = frozenset({NAMESPACE, VOLUME, CLAIM})
"""What holds data, and is deleted with its tenant alone."""
SOON_S, LONGEST_PAUSE_S = 0.2, 30.0
"""Before something is mended, and between two tries at most."""
log = logging.getLogger("authorizer")


class Tenants:
    """Everybody whom the site serves.

    Attributes:
        offer: what the site has for them; None until it has said so.
        offered: set once it has.
    """

    def __init__(self, kube: Kube, maker: Folders) -> None:
        self.offer: SiteOffer | None = None
        self.offered = asyncio.Event()
        self._kube = kube
        self._folders = maker
        self._tenants: dict[str, Tenant] = {}
        self._wanted: dict[str, dict[Address, Object]] = {}
        self._there: dict[Address, str] = {}
        self._missing: dict[Address, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._mending: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Condition()

    # -- what should be --------------------------------------------------------------------------------------------

    def vo_of(self, namespace: str) -> Tenant | None:
        """The VO whose namespace that is."""
        found = self._tenants.get(namespace)
        return found if found and found.member is None else None

    def members_of(self, vo: Tenant) -> list[Tenant]:
        """The members of a VO."""
        return [one for one in self._tenants.values() if one.member and one.vo.name == vo.vo.name]

    def change_offer(self, offer: SiteOffer) -> None:
        """Take another offer, and bring everybody in line with it."""
        self.offer = offer
        self.offered.set()
        self._wanted.clear()
        for namespace in self._tenants:
            self._mend(namespace)

    def require_offer(self, digest: str) -> None:
        """Raise WaitingError until the offer is the one of that digest; an empty one is any."""
        if self.offer is None or digest not in ("", self.offer.digest):
            raise WaitingError(NO_OFFER)

    def _objects(self, tenant: Tenant) -> dict[Address, Object]:
        """All that a tenant should have. Kept for a while: what is looked at next is often the same tenant's."""
        if self.offer is None:
            raise WaitingError(NO_OFFER)
        if tenant.namespace not in self._wanted:
            while len(self._wanted) >= LOOKED_AT:
                self._wanted.pop(next(iter(self._wanted)))
            self._wanted[tenant.namespace] = {address_of(obj): obj for obj in everything(tenant, self.offer)}
        return self._wanted[tenant.namespace]

    # -- making it so ----------------------------------------------------------------------------------------------

    async def settle(self, tenant: Tenant) -> None:
        """Make all that a tenant should have, and return once it can be used.

        Raises:
            RefusedError: it cannot be; says who has to do what.
            WaitingError: not yet.
        """
        async with self._lock(tenant.namespace):
            await self._require_own(tenant)
            self._replace(tenant)
            await self._make(tenant)
        await self._ready(tenant)
        if tenant.member is None:
            await self._follow(tenant)

    def _replace(self, tenant: Tenant) -> None:
        if self._tenants.get(tenant.namespace) != tenant:
            self._tenants[tenant.namespace] = tenant
            self._wanted.pop(tenant.namespace, None)

    async def _require_own(self, tenant: Tenant) -> None:
        if self.offer is None:
            raise WaitingError(NO_OFFER)
        require_own(await self._kube.get(Address(NAMESPACE, "", tenant.namespace)), tenant, self.offer.labels)

    async def _make(self, tenant: Tenant) -> None:
        wanted = self._objects(tenant)
        if problems := await self._folders.make(folders(tenant)):
            raise RefusedError("; ".join(problems))
        # A claim that is there before its volume is looked at again only a quarter of a minute later.
        for kinds in ({NAMESPACE}, {VOLUME}, set(KINDS) - {NAMESPACE, VOLUME}):
            made = await asyncio.gather(*(self._kube.apply(obj) for address, obj in wanted.items() if address.kind in kinds))
            for obj in made:
                self._note(obj)
        await self._remove_others(tenant, wanted)

    async def _remove_others(self, tenant: Tenant, wanted: dict[Address, Object]) -> None:
        """What it had before and should not have any more: a right that was taken, an HPC centre that is not offered."""
        theirs = [address for address, owner in self._there.items() if owner == tenant.namespace]
        for address in theirs:
            if address not in wanted and address.kind not in KEPT:
                log.info("%s: %s is removed", tenant.identity, address)
                await self._kube.delete(address)

    async def _ready(self, tenant: Tenant) -> None:
        wanted = self._objects(tenant)

        def missing() -> str:
            return "; ".join(self._missing[address] for address in wanted if address in self._missing)

        await self._until(lambda: not missing(), missing)

    async def _until(self, reached: Callable[[], bool], why: Callable[[], str]) -> None:
        """Return when the watches have told enough; raise WaitingError with the reason where that takes too long."""
        try:
            async with asyncio.timeout(PATIENCE_S), self._news:
                await self._news.wait_for(reached)
        except TimeoutError:
            raise WaitingError(why()) from None

    async def _follow(self, vo: Tenant) -> None:
        """Bring a VO's members in line with it."""
        stale = [one for one in self.members_of(vo) if one.vo != vo.vo]
        await asyncio.gather(*(self.settle(Tenant(vo.vo, one.member)) for one in stale))

    # -- keeping it so ---------------------------------------------------------------------------------------------

    async def keep(self, kind: Kind, watch_s: float) -> None:
        """Watch a kind of object for a while, and mend what is not as it should be."""
        async for change, objects in self._kube.changes(kind, watch_s):
            for obj in objects:
                self._seen(change, obj)
            if change == "ALL":
                self._compare(kind, {address_of(obj) for obj in objects})
            async with self._news:
                self._news.notify_all()

    def _seen(self, change: str, obj: Object) -> None:
        address, owner = address_of(obj), owner_of(obj)
        if change == "DELETED":
            self._there.pop(address, None)
            self._missing.pop(address, None)
        else:
            self._there[address] = owner
            self._note(obj)
        tenant = self._tenants.get(owner)
        if tenant is None or self.offer is None or (obj["metadata"].get("deletionTimestamp") and change != "DELETED"):
            return
        wanted = self._objects(tenant).get(address)
        if wanted is None:
            if change != "DELETED" and address.kind not in KEPT:
                self._mend(owner)
        elif change == "DELETED" or differs(obj, wanted):
            log.info("%s: %s is not as it should be", tenant.identity, address)
            self._mend(owner)

    def _note(self, obj: Object) -> None:
        address = address_of(obj)
        if why := short_of(obj):
            self._missing[address] = why
        else:
            self._missing.pop(address, None)

    def _compare(self, kind: Kind, listed: set[Address]) -> None:
        """Mend what the list of all objects of a kind does not have."""
        for address in [known for known in self._there if known.kind is kind and known not in listed]:
            del self._there[address]
        for namespace, tenant in self._tenants.items():
            if self.offer and any(one.kind is kind and one not in listed for one in self._objects(tenant)):
                self._mend(namespace)

    def _mend(self, namespace: str) -> None:
        """Bring a tenant in line soon, once for all that is found wrong until then; nothing to do while it is being made."""
        if namespace not in self._mending and not self._lock(namespace).locked():
            self._mending[namespace] = asyncio.create_task(self._mended(namespace))

    async def _mended(self, namespace: str) -> None:
        pause = SOON_S
        try:
            while True:
                await asyncio.sleep(pause)
                async with self._lock(namespace):
                    tenant = self._tenants.get(namespace)
                    if tenant is None or await self._made(tenant):
                        return
                pause = min(LONGEST_PAUSE_S, pause * 2)
        finally:
            del self._mending[namespace]

    async def _made(self, tenant: Tenant) -> bool:
        """Whether a tenant could be made as it should be."""
        try:
            await self._make(tenant)
        except WaitingError as error:
            log.info("%s: %s", tenant.identity, error)
        except RefusedError as error:
            log.error("%s: %s", tenant.identity, error)
        else:
            return True
        return False

    def _lock(self, namespace: str) -> asyncio.Lock:
        return self._locks.setdefault(namespace, asyncio.Lock())

    # -- taking it away --------------------------------------------------------------------------------------------

    async def take_away(self, labels: dict[str, str]) -> None:
        """Take a tenant's rights, and then the namespace and the volumes; what is in the folders stays.

        Args:
            labels: the tenant's: of its VO and, of a member, of their own.

        Raises:
            RefusedError: the site protects it.
            WaitingError: it is on its way.
        """
        namespace = owner_of({"metadata": {"labels": labels}})
        space = Address(NAMESPACE, "", namespace)
        if self.offer is None:
            raise WaitingError(NO_OFFER)
        async with self._lock(namespace):
            live = await self._kube.get(space)
            if live is not None and not has(live, {**self.offer.labels, **labels}):
                return  # another's, which this one was never given
            self._tenants.pop(namespace, None)
            self._wanted.pop(namespace, None)
            for address in [one for one, owner in self._there.items() if owner == namespace and one.kind is BINDING]:
                await self._kube.delete(address)
            if live is not None:
                self._require_unprotected(namespace)
                await self._kube.delete(space)
                self._there[space] = namespace
                await self._until(lambda: space not in self._there, lambda: f"namespace {namespace} is still being deleted")
            for volume in await self._kube.volumes_of(labels):
                if owner_of(volume) == namespace:
                    await self._kube.delete(address_of(volume))

    def _require_unprotected(self, namespace: str) -> None:
        if self.offer and self.offer.protect:
            raise RefusedError(
                f"namespace {namespace} is protected and keeps all that is in it; nobody has rights there any more. If its loss "
                "is meant, set `protect: false` in the site's settings and run `primage up`"
            )
