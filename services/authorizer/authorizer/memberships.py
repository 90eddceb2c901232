"""Requests and decisions about memberships are carried out at the identity provider, whose groups become Members as always."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from authorizer.clients.current_provider import CurrentProvider
from authorizer.clients.folders import Folders
from authorizer.clients.keycloak import Keycloak
from authorizer.clients.kube import LONGEST_PROBLEM, Kube
from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.memberships import Asked, Change, decided, leaving, line, require_free, said
from authorizer.domain.objects import DECISION, MEMBER, ORGANISATION, REQUEST, Address, Kind, address_of
from authorizer.domain.people import Account
from authorizer.tenants import Tenants
from primage.contract import audit, names
from primage.contract.custom_resources import organisation_of
from primage.contract.memberships import (
    STATUS,
    MembershipDecisionSpec,
    State,
    Verdict,
    Wish,
    decision_of,
    is_old,
    object_name,
    request_of,
    state_of,
)
from primage.contract.tenant_objects.objects import Object
from primage.contract.vo import VirtualOrganisationSpec

SOON_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Before one is tried again that could not be carried out, each time twice as long."""
LEFT = "they have left by themselves"
ALREADY = "it was so already, and nothing has been changed"
log = logging.getLogger("authorizer")


class Memberships:
    """One request or decision after the other: two administrators who remove each other cannot both succeed, nor can those of two
    VOs who take in the same person.

    Args:
        folder: with the secret for the identity provider.
    """

    def __init__(self, kube: Kube, tenants: Tenants, log_of_rights: Folders, folder: Path) -> None:
        self._kube = kube
        self._tenants = tenants
        self._lines = log_of_rights
        self._current = CurrentProvider(folder)
        # Decisions are few, and whoever asks must not have them wait: requests are anybody's.
        self._queues: dict[Kind, asyncio.Queue[Address]] = {REQUEST: asyncio.Queue(), DECISION: asyncio.Queue()}
        self._queued: set[Address] = set()
        self._pauses: dict[Address, float] = {}
        self._alone = asyncio.Lock()

    async def watch(self, kind: Kind, watch_s: float) -> None:
        """Watch one of the two kinds for a while; what there is gets looked at at least once in that time."""
        async for change, objects in self._kube.changes(kind, watch_s, namespace="*"):
            for obj in objects:
                if change != "DELETED":
                    self._put(address_of(obj))

    async def work(self, kind: Kind) -> None:
        """Carry out those of a kind, for ever."""
        while True:
            address = await self._queues[kind].get()
            self._queued.discard(address)
            try:
                await self._settle(address)
                self._pauses.pop(address, None)
            except (RefusedError, WaitingError) as error:  # of the API server: its status cannot be written
                log.info("%s: %s", address, error)
                self._again(address)
            except Exception:  # a mistake of ours about one must not keep the others waiting
                log.exception("%s cannot be settled", address)
                self._again(address)

    def _put(self, address: Address) -> None:
        if address not in self._queued:
            self._queued.add(address)
            self._queues[address.kind].put_nowait(address)

    def _again(self, address: Address) -> None:
        pause = min(LONGEST_PAUSE_S, 2 * self._pauses.get(address, SOON_S / 2))
        self._pauses[address] = pause
        asyncio.get_running_loop().call_later(pause, self._put, address)

    async def _settle(self, address: Address) -> None:
        obj = await self._kube.get(address)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return
        if state_of(obj).is_end:
            if is_old(obj, audit.now()):
                await self._kube.delete(address)
            return
        try:
            await (self._request(obj) if address.kind is REQUEST else self._decision(obj))
        except RefusedError as error:
            log.info("%s is refused: %s", address, error)
            await self._say(obj, State.REFUSED, problem=str(error))
        except WaitingError as error:
            await self._say(obj, State.WAITING, problem=str(error))
            self._again(address)

    async def _request(self, obj: Object) -> None:
        if state_of(obj) is State.ASKED:
            return
        try:
            spec = request_of(obj)
        except ValueError as error:
            raise RefusedError(f"this is not a request: {error}") from error
        vo = self._vo_of(obj)
        live = await self._require_free(vo, spec.identity)
        if spec.wish is Wish.JOIN:
            if live is not None and live["spec"].get("roles"):
                raise RefusedError(f"{spec.identity} is a member of {vo.name} already")
            await self._say(obj, State.ASKED)
            return
        if live is None:  # the identity provider is asked for members alone: anybody may write this
            raise RefusedError(f"{spec.identity} is not a member of {vo.name}")
        async with self._alone:
            provider = self._provider()
            change = leaving(vo.name, spec.identity, await self._accounts(provider, vo))
            await self._lines.write([line(vo.name, spec.identity, spec.identity, LEFT)])
            await self._carry_out(provider, vo, spec.identity, change)
        await self._say(obj, State.DONE)

    async def _decision(self, obj: Object) -> None:
        try:
            spec = decision_of(obj)
        except ValueError as error:
            raise RefusedError(f"this is not a decision: {error}") from error
        vo = self._vo_of(obj)
        async with self._alone:
            request = await self._kube.get(Address(REQUEST, obj["metadata"]["namespace"], object_name(spec.identity)))
            provider = self._provider()
            accounts = await self._accounts(provider, vo)
            found, served = await provider.account(spec.identity), await self._served()
            change = decided(vo.name, spec, accounts, found, _asked(request, obj), served)
            if change:
                await self._require_free(vo, spec.identity)
            already = change is None and spec.verdict is not Verdict.REFUSE
            if not already:  # a loop of decisions that change nothing would fill the log
                await self._lines.write([line(vo.name, spec.decided_by, spec.identity, said(spec))])
            if change:
                await self._carry_out(provider, vo, spec.identity, change)
            if request and spec.verdict in (Verdict.APPROVE, Verdict.REFUSE):
                await self._answer(request, spec, str(obj["metadata"]["uid"]))
        log.info("%s has decided about %s in %s: %s", spec.decided_by, spec.identity, vo.name, spec.verdict.value)
        await self._say(obj, State.DONE, problem=ALREADY if already else "")

    async def _answer(self, request: Object, spec: MembershipDecisionSpec, decision: str) -> None:
        """Tell whoever has asked."""
        state = State.APPROVED if spec.verdict is Verdict.APPROVE else State.REFUSED
        await self._say(request, state, decidedBy=spec.decided_by, reason=spec.reason, decision=decision)

    async def _carry_out(self, provider: Keycloak, vo: VirtualOrganisationSpec, identity: str, change: Change) -> None:
        await provider.place(change.account, vo.name, change.roles, inside=change.inside)
        roles = ", ".join(sorted(role.value for role in change.roles))
        log.info("%s has in %s from now on: %s", identity, vo.name, roles or "nothing")

    async def _accounts(self, provider: Keycloak, vo: VirtualOrganisationSpec) -> list[Account]:
        found, unknown = await provider.accounts([vo.name])
        if unknown:
            raise WaitingError(f"the identity provider has no group /{vo.name} yet")
        return found

    async def _require_free(self, vo: VirtualOrganisationSpec, identity: str) -> Object | None:
        """Raise RefusedError where somebody's membership is not the provider's to say; their Member in this VO."""
        # Of the API server: who is a Member of what must not depend on how much of that has been handled here.
        found = await self._kube.list(MEMBER, namespace="*", fields={"metadata.name": names.namespace_for(identity)})
        by_space = {obj["metadata"]["namespace"]: obj for obj in found}
        live = by_space.pop(names.namespace_for(vo.name), None)
        served = {names.namespace_for(name): name for name in (await self._served() if by_space else ())}
        elsewhere = [served.get(space, space) for space in sorted(by_space)]
        require_free(vo.name, identity, elsewhere, live)
        return live

    async def _served(self) -> list[str]:
        """The names of this site's VOs."""
        return [organisation_of(obj).name for obj in await self._kube.list(ORGANISATION)]

    def _vo_of(self, obj: Object) -> VirtualOrganisationSpec:
        space = obj["metadata"]["namespace"]
        tenant = self._tenants.get(space)
        if tenant is None or tenant.member is not None:
            raise WaitingError(f"namespace {space} is not known as that of a virtual organisation yet")
        return tenant.vo

    def _provider(self) -> Keycloak:
        provider = self._current.of(self._tenants.offer.login)
        if provider is None:
            raise WaitingError("nobody logs in on this site")
        return provider

    async def _say(self, obj: Object, state: State, *, problem: str = "", **more: str) -> None:
        """Write how far one is; a field that is not given goes."""
        when = f"{audit.now():%Y-%m-%dT%H:%M:%SZ}" if state.is_end else ""
        given = {"state": state.value, "when": when, "problem": problem[:LONGEST_PROBLEM], **more}
        status = {field: given.get(field) or None for field in STATUS}
        if (obj.get("status") or {}) != {key: value for key, value in status.items() if value is not None}:
            await self._kube.report(obj, status)


def _asked(request: Object | None, decision: Object) -> Asked | None:
    """A request as it stands for a decision; None for none, or for what is none."""
    if request is None:
        return None
    try:
        spec = request_of(request)
    except ValueError:
        return None
    ended_by = (request.get("status") or {}).get("decision")
    return Asked(spec, state_of(request) is State.ASKED or ended_by == decision["metadata"]["uid"])
