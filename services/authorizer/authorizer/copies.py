"""Tenants' copies of the operator's Secrets: made, kept as they should be, and removed once the setting is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable

from authorizer.clients.kube import Kube
from authorizer.clients.sources import Source, Sources
from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.objects import ACCOUNT, SECRET, Address, address_of, owner_of
from authorizer.domain.ownership import MADE_HERE
from authorizer.tenants import Tenants
from primage.contract import names
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import secrets
from primage.contract.tenant_objects.objects import Object

COMPARE_S = 30.0
"""Between two comparisons of all copies."""
DEFAULT = "default"
"""The account that pods have who name none."""
log = logging.getLogger("authorizer")


class Copies:
    """What is in the copies is compared and written, and never said.

    Args:
        longest_s: seconds between two comparisons at most.
    """

    def __init__(self, kube: Kube, tenants: Tenants, sources: Sources, longest_s: float) -> None:
        self._kube = kube
        self._tenants = tenants
        self._sources = sources
        # Without a setting there is nothing to keep, and once nothing to remove.
        self._compare_s = min(COMPARE_S, longest_s) if sources.storage or sources.pull else longest_s

    async def give(self, tenant: Tenant) -> None:
        """Make a tenant's copies, before it is said to be ready.

        Raises:
            RefusedError, WaitingError: one cannot be made, or not yet.
        """
        storage, pull = self._sources.read()
        for obj in self._wanted(tenant, storage, pull):
            await self._kube.apply(obj)
        if pull:
            account = await self._kube.get(Address(ACCOUNT, tenant.namespace, DEFAULT))
            if account is None:
                raise WaitingError(f"namespace {tenant.namespace} has no account {DEFAULT} yet")
            await self._name_pull(account, wanted=True)

    async def follow(self) -> None:
        """Compare all copies, and then pause."""
        for problem in await self._compare():
            log.error("%s", problem)
        await asyncio.sleep(self._compare_s)

    async def _compare(self) -> list[Exception]:
        storage, pull = self._sources.read()
        tenants = [tenant for tenant in self._tenants if not self._tenants.is_paused(tenant.namespace)]
        wanted = {address_of(obj): obj for tenant in tenants for obj in self._wanted(tenant, storage, pull)}
        live = {address_of(obj): obj for name, source in self._named(storage, pull) for obj in await self._all(name)}
        problems: list[Exception] = []
        for address, obj in wanted.items():
            if address not in live or (live[address].get("data"), live[address].get("type")) != (obj["data"], obj["type"]):
                problems += await self._tried(self._kube.apply(obj))
        for name, source in self._named(storage, pull):
            for obj in (one for one in live.values() if one["metadata"]["name"] == name):
                if self._is_old(obj, wanted, source):
                    problems += await self._tried(self._kube.delete(address_of(obj)))
        return [*problems, *await self._compare_accounts(tenants, pull)]

    def _wanted(self, tenant: Tenant, storage: Source | None, pull: Source | None) -> list[Object]:
        made = (secrets.storage(tenant, storage or {}), secrets.pull(tenant, pull or {}))
        found = [obj for obj in made if obj is not None]
        return [
            {**obj, "metadata": {**obj["metadata"], "labels": {**self._tenants.offer.labels, **tenant.labels}}} for obj in found
        ]

    def _named(self, storage: Source | None, pull: Source | None) -> list[tuple[str, Source | None]]:
        return [(names.STORAGE_SECRET, storage), (names.PULL_SECRET, pull)]

    async def _all(self, name: str) -> list[Object]:
        """All copies of one name: rights go by it."""
        return await self._kube.list(SECRET, namespace="*", labels=dict(MADE_HERE), fields={"metadata.name": name})

    def _is_old(self, copy: Object, wanted: Iterable[Address], source: Source | None) -> bool:
        """Whether a copy has to go: there is no such setting, or none of it is that tenant's any more.

        Of a tenant that is not known yet, and while the operator's Secret is away, everything stays.
        """
        if source is None:
            return True
        known = self._tenants.get(owner_of(copy)) is not None and not self._tenants.is_paused(owner_of(copy))
        return bool(source) and known and address_of(copy) not in set(wanted)

    async def _compare_accounts(self, tenants: Iterable[Tenant], pull: Source | None) -> list[Exception]:
        if pull is not None and not pull:
            return []
        problems: list[Exception] = []
        theirs = {tenant.namespace for tenant in tenants}
        for account in await self._kube.list(ACCOUNT, namespace="*", fields={"metadata.name": DEFAULT}):
            if account["metadata"]["namespace"] in theirs:
                problems += await self._tried(self._name_pull(account, wanted=pull is not None))
        return problems

    async def _name_pull(self, account: Object, *, wanted: bool) -> None:
        """Have pods without an account of their own pull with the copy, or not any more; what else the account names stays."""
        ours = {"name": names.PULL_SECRET}
        given = account.get("imagePullSecrets") or []
        if (ours in given) == wanted:
            return
        others = [one for one in given if one != ours]
        where = {key: account["metadata"][key] for key in ("name", "namespace", "uid")}
        named = {"imagePullSecrets": [*others, ours] if wanted else others}
        await self._kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": where, **named})

    async def _tried(self, one: Awaitable[object]) -> list[Exception]:
        try:
            await one
        except (RefusedError, WaitingError) as error:
            return [error]
        return []
