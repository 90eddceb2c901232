"""Tenants as they should be, and how each is made so and taken away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import suppress

from authorizer.clients.folders import Folders
from authorizer.clients.kube import Kube
from authorizer.clients.turns import in_line
from authorizer.domain.errors import RefusedError, WaitingError, phase_of
from authorizer.domain.held import NO_ROLE, Held, at_a_centre, held
from authorizer.domain.objects import (
    BINDING,
    CLAIM,
    JOB,
    KINDS,
    MEMBER,
    NAMESPACE,
    POD,
    VOLUME,
    Address,
    Kind,
    address_of,
    has_user,
    owner_of,
)
from authorizer.domain.ownership import MADE_HERE, has, require_own
from authorizer.live import LiveObjects
from authorizer.rights_log import RightsLog
from primage.contract import names
from primage.contract.custom_resources import Phase
from primage.contract.offer import SiteOffer
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects import everything
from primage.contract.tenant_objects.folders import folders
from primage.contract.tenant_objects.objects import Object

NO_OFFER = "the site has not said yet what it offers"
LOOKED_AT = 32
"""Tenants whose objects are kept at hand."""
KEPT = frozenset({NAMESPACE, VOLUME, CLAIM})
"""What holds data, and is deleted with its tenant alone."""
log = logging.getLogger("authorizer")


class Tenants:
    """Everybody whom the site serves.

    Attributes:
        offered: set once the site has said what it has for them.
        rights: what the audit log says of their roles.

    Args:
        authority: the certificate, PEM, that vouches for the issuer of logins; empty where one of the usual ones does.
    """

    def __init__(self, kube: Kube, maker: Folders, live: LiveObjects, authority: str = "") -> None:
        self.offered = asyncio.Event()
        self.rights = RightsLog(kube, maker)
        self._offer: SiteOffer | None = None
        self._kube = kube
        self._folders = maker
        self._live = live
        self._authority = authority
        self._tenants: dict[str, Tenant] = {}
        self._wanted: dict[str, tuple[Tenant, dict[Address, Object]]] = {}
        self._made: dict[str, tuple[Tenant, SiteOffer, str]] = {}
        self._ailing: set[str] = set()
        self._paused: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}

    # -- who there is, and what each should have ---------------------------------------------------------------------

    @property
    def offer(self) -> SiteOffer:
        """What the site has for everybody.

        Raises:
            WaitingError: it has not said so yet.
        """
        if self._offer is None:
            raise WaitingError(NO_OFFER)
        return self._offer

    def change_offer(self, offer: SiteOffer) -> bool:
        """Take an offer; returns whether it is another one."""
        if offer == self._offer:
            return False
        self._offer = offer
        self._wanted.clear()
        self.offered.set()
        return True

    def require_offer(self, digest: str) -> None:
        """Raise WaitingError until the offer is the one of that digest; an empty one is any."""
        if digest not in ("", self.offer.digest):
            raise WaitingError(f"it is to be made with the site's offer {digest}, and the one known yet is {self.offer.digest}")

    def pause(self, tenant: Tenant) -> None:
        """Leave a tenant alone until it is settled again; of a VO, its members are looked after nevertheless."""
        self._tenants.setdefault(tenant.namespace, tenant)
        self._made.pop(tenant.namespace, None)
        self._paused.add(tenant.namespace)

    def is_paused(self, namespace: str) -> bool:
        """Whether a tenant is to be left alone."""
        return namespace in self._paused

    def get(self, namespace: str) -> Tenant | None:
        """The tenant whose namespace that is."""
        return self._tenants.get(namespace)

    def __iter__(self) -> Iterator[Tenant]:
        """All of them, as they are known now."""
        return iter(list(self._tenants.values()))

    def wanted(self, tenant: Tenant) -> dict[Address, Object]:
        """All that a tenant should have. Kept for a while: what is looked at next is often the same tenant's."""
        known, objects = self._wanted.get(tenant.namespace, (None, {}))
        if known != tenant:
            while len(self._wanted) >= LOOKED_AT:
                self._wanted.pop(next(iter(self._wanted)))
            objects = {address_of(obj): obj for obj in everything(tenant, self.offer, self._authority)}
            self._wanted[tenant.namespace] = (tenant, objects)
        return objects

    # -- making it so ------------------------------------------------------------------------------------------------

    async def settle(self, tenant: Tenant, *, again: bool = False, had_all: bool = False) -> str:
        """Make all that a tenant should have; returns when its namespace was made.

        Args:
            again: it was tried a moment ago. What was made then is there, or is repaired: on a slow cluster, to ask for all of it
                once more for each claim that takes its time would make everything slower still.
            had_all: it had all of it once, as after a start of this process: who is new must not wait for all of those.

        Raises:
            RefusedError: it cannot be; says who has to do what.
            WaitingError: not yet.
        """
        async with self._lock(tenant.namespace):
            with in_line(last=had_all and tenant.member is not None):
                return await self._settle(self._of_todays_vo(tenant), again=again)

    async def _settle(self, tenant: Tenant, *, again: bool) -> str:
        made = self._made.get(tenant.namespace)
        if again and made and made[:2] == (tenant, self.offer) and tenant.namespace not in self._ailing:
            return made[2]
        known = self._tenants.get(tenant.namespace)
        if known and known.labels != tenant.labels:
            raise RefusedError(f"{tenant.identity} is one of {known.vo.name}, and a person is a member of one VO on a site")
        self._made.pop(tenant.namespace, None)
        is_new, space = await self._have_space(tenant)
        self._tenants[tenant.namespace] = tenant
        self._ailing.discard(tenant.namespace)
        self._paused.discard(tenant.namespace)
        await self._make(tenant, space, is_new=is_new)
        if not is_new and not _idle(tenant):
            for error in await self._hold_jobs(tenant.namespace, may_run=True):
                raise error
        since = str(space["metadata"]["creationTimestamp"])
        self._made[tenant.namespace] = tenant, self.offer, since
        return since

    async def ready(self, tenant: Tenant) -> None:
        """Return once a tenant can be used.

        Raises:
            WaitingError: a claim has no volume yet.
        """
        wanted = self.wanted(tenant)
        await self._live.until(tenant.namespace, lambda: not self._short_of(wanted, CLAIM), lambda: self._short_of(wanted, CLAIM))

    def _short_of(self, wanted: Iterable[Address], kind: Kind) -> str:
        return self._live.short_of(address for address in wanted if address.kind is kind)

    def _of_todays_vo(self, tenant: Tenant) -> Tenant:
        """The same; of a member, with the VO as it is by now."""
        if tenant.member is None:
            return tenant
        vo = self._tenants.get(names.namespace_for(tenant.vo.name))
        if vo is None or vo.member is not None:
            raise WaitingError(f"virtual organisation {tenant.vo.name} is not known yet")
        return Tenant(vo.vo, tenant.member)

    def follow(self, vo: Tenant) -> list[str]:
        """Have a VO's members belong to it as it is now; the namespaces of those for whom that changes something."""
        stale = [one for one in self if one.member and one.vo.name == vo.vo.name and one.vo != vo.vo]
        for one in stale:
            self._tenants[one.namespace] = Tenant(vo.vo, one.member)
        return [one.namespace for one in stale]

    async def repair(self, namespace: str) -> None:
        """Make again all that a tenant should have, and say in its status how that went. Nothing where nobody is known there.

        Raises:
            RefusedError, WaitingError: as `settle`.
        """
        async with self._lock(namespace):
            tenant = self._tenants.get(namespace)
            if tenant is None or namespace in self._paused:
                return
            try:
                is_new, space = await self._have_space(tenant)
                await self._make(tenant, space, is_new=is_new)
            except (RefusedError, WaitingError) as error:
                self._ailing.add(namespace)
                await self._kube.say(tenant, phase_of(error), str(error))
                raise
            if namespace in self._ailing:
                self._ailing.discard(namespace)
                await self._kube.say(tenant, Phase.READY, None)

    async def _have_space(self, tenant: Tenant) -> tuple[bool, Object]:
        """Have the namespace be the tenant's: whether it is new, and what it is.

        It is made, not applied, where there is none: of two VOs that have the same person at the same moment, be it by two
        processes, Kubernetes gives it to one, and the other is refused before anything else is made.
        """
        space = Address(NAMESPACE, "", tenant.namespace)
        live = await self._kube.get(space) if space in self._live.of(tenant.namespace) else None
        if live is None and (made := await self._kube.create(self.wanted(tenant)[space])):
            self._live.note_answer(made)
            return True, made
        live = live or await self._kube.get(space)
        if live is None:
            raise WaitingError(f"namespace {tenant.namespace} is gone at this moment, and is made again")
        require_own(live, tenant)
        return False, live

    async def _make(self, tenant: Tenant, space: Object, *, is_new: bool) -> None:
        """Make it so. What cannot be made keeps nothing back but rights, which come last.

        Args:
            space: its namespace as it is, which is the tenant's.
            is_new: whether that was made a moment ago, as it should be.
        """
        wanted = self.wanted(tenant)
        # First: what somebody lost must not wait for anything else.
        await self._remove_others(tenant, wanted)
        of_log = await _tried(self.rights.take(tenant))
        idle = _idle(tenant)
        of_jobs = await self._hold_jobs(tenant.namespace, may_run=False) if idle else []
        if problems := await self._folders.make(folders(tenant)):
            raise RefusedError("; ".join(problems))
        if not is_new:
            # Should another have come in its place since it was looked at, that has another number.
            address = address_of(space)
            own = {**wanted[address], "metadata": {**wanted[address]["metadata"], "uid": space["metadata"]["uid"]}}
            self._live.note_answer(await self._kube.apply(own))
        of_rights, of_volumes = await asyncio.gather(
            self._limit_and_give(tenant, wanted, of_log), self._make_volumes(tenant, wanted)
        )
        for error in (*of_jobs, *of_rights, *of_volumes):
            raise error

    async def _limit_and_give(self, tenant: Tenant, wanted: dict[Address, Object], of_log: list[Exception]) -> list[Exception]:
        """Make limits and all else that has no data, and then rights; what went wrong.

        Args:
            of_log: what went wrong with the audit log before, without which there are no rights.
        """
        _, of_limits = await self._apply(wanted, set(KINDS) - {NAMESPACE, VOLUME, CLAIM, BINDING})
        if of_limits:
            return [*of_log, *of_limits]
        of_pods = await self._end_pods(tenant) if _idle(tenant) else []
        of_rights: list[Exception] = []
        if not (of_log := of_log or await _tried(self.rights.give(tenant))):
            _, of_rights = await self._apply(wanted, {BINDING})
        return [*of_log, *of_pods, *of_rights]

    async def _make_volumes(self, tenant: Tenant, wanted: dict[Address, Object]) -> list[Exception]:
        """Make volumes, and then the claims of each; what went wrong."""
        volumes, of_volumes = await self._apply(wanted, {VOLUME})
        if of_renewal := await _tried(self._renew(wanted, volumes)):
            return of_renewal
        # A claim that Kubernetes' controller sees before the volume is looked at again only a quarter of a minute later.
        with suppress(WaitingError):
            await self._live.until(tenant.namespace, lambda: not self._short_of(wanted, VOLUME), lambda: "")
        _, of_claims = await self._apply(wanted, {CLAIM})
        return [*of_volumes, *of_claims]

    async def _hold_jobs(self, namespace: str, *, may_run: bool) -> list[Exception]:
        """Suspend Jobs of whoever has no role, and let those go on of who has one again; what went wrong."""
        failed: list[Exception] = []
        for job in await self._kube.list(JOB, namespace=namespace):
            if change := held(job, may_run=may_run):
                log.info("%s: job %s %s", namespace, job["metadata"]["name"], change.value)
                failed += await _tried(self._hold(job, change))
        return failed

    async def _hold(self, job: Object, change: Held) -> None:
        try:
            await self._kube.suspend(address_of(job), NO_ROLE if change is Held.SUSPENDED else "")
        except RefusedError:
            if change is not Held.SUSPENDED:
                raise
            # Somebody has filled it up, so that not a word more fits.
            await self._kube.delete(address_of(job))

    async def _end_pods(self, tenant: Tenant) -> list[Exception]:
        """End what else runs of a member without a role, now that the quota keeps it from coming back; what went wrong."""
        failed: list[Exception] = []
        for pod in await self._kube.list(POD, namespace=tenant.namespace):
            ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            if not ended:
                failed += await _tried(self._kube.delete(address_of(pod)))
        return failed

    async def _apply(self, wanted: dict[Address, Object], kinds: set[Kind]) -> tuple[list[Object], list[Exception]]:
        """Apply what is of these kinds, side by side and all of it; what it has become, and what went wrong."""
        tries = [self._kube.apply(obj) for address, obj in wanted.items() if address.kind in kinds]
        done = await asyncio.gather(*tries, return_exceptions=True)
        made = [one for one in done if isinstance(one, dict)]
        for obj in made:
            self._live.note_answer(obj)
        return made, [one for one in done if isinstance(one, Exception)]

    async def _renew(self, wanted: dict[Address, Object], volumes: list[Object]) -> None:
        """Make volumes again whose claim was deleted: they would wait for that very one for ever. What is in the folder stays."""
        for volume in volumes:
            if (volume.get("status") or {}).get("phase") == "Released":
                await self._kube.delete(address_of(volume))
                made = await self._kube.apply(wanted[address_of(volume)])
                if made["metadata"].get("deletionTimestamp"):
                    raise WaitingError(f"volume {volume['metadata']['name']} is being made again")

    async def _remove_others(self, tenant: Tenant, wanted: dict[Address, Object]) -> None:
        """What it had before and should not have any more: a right that was taken, an HPC centre that is not offered."""
        for address in self._live.of(tenant.namespace):
            if address not in wanted and address.kind not in KEPT:
                log.info("%s: %s is removed", tenant.identity, address)
                await self._kube.delete(address)

    def _lock(self, namespace: str) -> asyncio.Lock:
        return self._locks.setdefault(namespace, asyncio.Lock())

    # -- taking it away ----------------------------------------------------------------------------------------------

    async def take_away(self, namespace: str, labels: dict[str, str]) -> None:
        """Take a tenant's rights, and then the namespace and the volumes; what is in the folders stays.

        On a protected site the namespace stays, with all that is in it: it is theirs again once they are asked for again.

        Args:
            labels: the tenant's: of its VO and, of a member, of their own.

        Raises:
            RefusedError: it is a VO that has members, on a protected site.
            WaitingError: it is on its way.
        """
        space, offer = Address(NAMESPACE, "", namespace), self.offer
        async with self._lock(namespace):
            known, there = self._tenants.get(namespace), await self._kube.get(space)
            if (known and known.labels != labels) or (there is not None and not has(there, {**MADE_HERE, **labels})):
                return  # another's, which this one was never given
            if offer.protect and names.LABEL_USER not in labels and await self._kube.list(MEMBER, namespace=namespace):
                raise RefusedError("it has members, who would keep their rights on a protected site: delete its Members first")
            self._tenants.pop(namespace, None)
            self._wanted.pop(namespace, None)
            self._made.pop(namespace, None)
            for binding in await self._kube.list(BINDING, labels={**MADE_HERE, **labels}, namespace="*"):
                if has_user(binding) and owner_of(binding) == namespace:
                    await self._kube.delete(address_of(binding))
            await self.rights.take_all(labels)
            if offer.protect:
                await self._leave(namespace, labels)
                return
            if there is not None:
                await self._end_jobs(namespace)
                self._live.note_answer(there)
                await self._kube.delete(space)
                await self._live.until(
                    namespace,
                    lambda: space not in self._live.of(namespace),
                    lambda: f"namespace {namespace} is still being deleted",
                )
            for address in self._live.of(namespace):
                if address.kind is VOLUME:
                    await self._kube.delete(address)

    async def _leave(self, namespace: str, labels: dict[str, str]) -> None:
        """Leave a namespace as it is, with nobody who has rights in it: the connector goes last, once nothing is at a centre."""
        for error in await self._hold_jobs(namespace, may_run=False):
            raise error
        if left := [job for job in await self._kube.list(JOB, namespace=namespace) if at_a_centre(job)]:
            raise WaitingError(f"{len(left)} of its jobs are being suspended, {left[0]['metadata']['name']} among them")
        for binding in await self._kube.list(BINDING, labels={**MADE_HERE, **labels}, namespace=namespace):
            await self._kube.delete(address_of(binding))
        log.warning("namespace %s is protected, and stays without anybody who has rights in it", namespace)

    async def _end_jobs(self, namespace: str) -> None:
        """End what runs: the rights of the connector, which cancels jobs at their centre, must not go before them."""
        jobs = await self._kube.list(JOB, namespace=namespace)
        for job in jobs:
            await self._kube.delete(address_of(job))
        if left := await self._kube.list(JOB, namespace=namespace) if jobs else []:
            raise WaitingError(f"{len(left)} of its jobs are being ended, {left[0]['metadata']['name']} among them")


def _idle(tenant: Tenant) -> bool:
    """Whether it is a member without a role, who keeps what is theirs and runs nothing."""
    return tenant.member is not None and not tenant.member.roles


async def _tried(one: Awaitable[None]) -> list[Exception]:
    """What went wrong with something that must not keep the rest waiting."""
    try:
        await one
    except (RefusedError, WaitingError) as error:
        return [error]
    return []
