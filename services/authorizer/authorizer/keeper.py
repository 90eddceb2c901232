"""Keeps tenants as they should be, whoever changes what they have."""

from __future__ import annotations

import asyncio
import logging

from authorizer.clients.kube import OF_TENANTS, Kube
from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.objects import BINDING, MEMBER, Address, Kind, address_of, differs, has_user, owner_of
from authorizer.live import LiveObjects
from authorizer.tenants import KEPT, Tenants
from primage.contract.names import LABEL_USER, LABEL_VO
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object

SOON_S, LONGEST_PAUSE_S = 0.2, 30.0
"""Before a tenant is repaired, once for all that is found wrong until then; and between two tries at most."""
AT_ONCE = 8
"""Tenants that are repaired side by side: one that cannot be keeps nobody waiting."""
log = logging.getLogger("authorizer")


class Keeper:
    """Compares what the watches tell with what should be."""

    def __init__(self, kube: Kube, tenants: Tenants, live: LiveObjects) -> None:
        self._kube = kube
        self._tenants = tenants
        self._live = live
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._pauses: dict[str, float] = {}

    async def watch(self, kind: Kind, watch_s: float) -> None:
        """Watch a kind of object for a while, and have repaired what is not as it should be."""
        before = self._live.known(kind)
        listed: set[Address] = set()
        async for change, objects in self._kube.changes(kind, watch_s):
            for obj in objects:
                self._live.note(obj, deleted=change == "DELETED")
                self._compare(obj, deleted=change == "DELETED")
            if change == "LISTED":
                listed.update(map(address_of, objects))
            if change == "COMPLETE":
                self._live.listed(kind, before - listed)
                self._find_missing(kind)

    async def sweep(self, pause_s: float) -> None:
        """Take the rights of whom nobody asks for any more, such as one whose finalizer was removed by hand; and then pause.

        Args:
            pause_s: seconds until it is to be done again.
        """
        for binding in await self._kube.list(BINDING, labels=OF_TENANTS, namespace="*"):
            if has_user(binding) and self._tenants.get(owner_of(binding)) is None:
                await self._remove_orphan(binding)
        await self._tenants.rights.pay()
        await asyncio.sleep(pause_s)

    async def _remove_orphan(self, binding: Object) -> None:
        labels = binding["metadata"]["labels"]
        asked = await self._kube.get(Address(MEMBER, labels[LABEL_VO], labels.get(LABEL_USER, "")))
        if asked is None:
            log.warning("%s is nobody's any more, and is removed", address_of(binding))
            await self._kube.delete(address_of(binding))
            self._tenants.rights.owe(binding)

    def follow(self, vo: Tenant) -> None:
        """Have a VO's members brought in line with it."""
        for namespace in self._tenants.follow(vo):
            self._later(namespace)

    def everybody(self) -> None:
        """Have everybody brought in line: the site offers something else."""
        for tenant in self._tenants:
            self._later(tenant.namespace)

    def _compare(self, obj: Object, *, deleted: bool) -> None:
        tenant, address = self._tenants.get(owner_of(obj)), address_of(obj)
        if tenant is None or (obj["metadata"].get("deletionTimestamp") and not deleted):
            return
        wanted = self._tenants.wanted(tenant).get(address)
        stray = wanted is None and not deleted and address.kind not in KEPT
        if stray or (wanted is not None and (deleted or differs(obj, wanted))):
            log.info("%s: %s is not as it should be", tenant.identity, address)
            self._later(tenant.namespace)

    def _find_missing(self, kind: Kind) -> None:
        for tenant in self._tenants:
            there = set(self._live.of(tenant.namespace))
            if any(address.kind is kind and address not in there for address in self._tenants.wanted(tenant)):
                self._later(tenant.namespace)

    # -- repairing -----------------------------------------------------------------------------------------------------

    def _later(self, namespace: str) -> None:
        if namespace not in self._queued:
            self._queued.add(namespace)
            pause = self._pauses.get(namespace, SOON_S)
            asyncio.get_running_loop().call_later(pause, self._queue.put_nowait, namespace)

    async def repair(self) -> None:
        """Repair who is found wrong, for ever."""
        while True:
            namespace = await self._queue.get()
            self._queued.discard(namespace)
            try:
                await self._tenants.repair(namespace)
                self._pauses.pop(namespace, None)
            except (RefusedError, WaitingError) as error:
                log.log(logging.ERROR if isinstance(error, RefusedError) else logging.INFO, "%s: %s", namespace, error)
                self._again(namespace)
            except Exception:  # a mistake of ours about one tenant must not keep the others waiting
                log.exception("%s cannot be repaired", namespace)
                self._again(namespace)

    def _again(self, namespace: str) -> None:
        """Try once more, each time a longer while later."""
        self._pauses[namespace] = min(LONGEST_PAUSE_S, 2 * self._pauses.get(namespace, SOON_S))
        self._later(namespace)
