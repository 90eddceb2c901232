"""The authorizer's lines of the audit log: a role is given after its line, and has been lost before its line."""

from __future__ import annotations

from authorizer.clients.folders import Folders
from authorizer.clients.kube import Kube
from authorizer.domain.objects import MEMBER, Address
from authorizer.domain.rights import Named, Told, orphaned, told_of
from primage.contract.audit import Line, Verb
from primage.contract.names import LABEL_USER, LABEL_VO
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object


class RightsLog:
    """What has a line, by Member: that is, by the namespaces of its VO and of its own."""

    def __init__(self, kube: Kube, folders: Folders) -> None:
        self._kube = kube
        self._folders = folders
        self._told: dict[tuple[str, str], Told] = {}
        self._named: dict[tuple[str, str], Named] = {}
        self._owed: list[Line] = []

    def meet(self, obj: Object, vo: str) -> None:
        """Take note of a Member as it is by now.

        Args:
            vo: its VO's name.
        """
        member = (str(obj["metadata"]["namespace"]), str(obj["metadata"]["name"]))
        self._named[member] = Named.of(obj, vo)
        # What this process knows is newer than what it is shown.
        self._told.setdefault(member, told_of(obj))

    async def give(self, tenant: Tenant) -> None:
        """Write what somebody is about to be given.

        Raises:
            RefusedError, WaitingError: it is not written, and must not be given.
        """
        member = _member(tenant.labels)
        told = self._told.get(member, Told())
        if not (missing := told.without_line(_roles(tenant))):
            return
        await self._note(member, told.doubting(missing))
        await self._folders.write(self._named[member].lines(Verb.GIVEN, missing))
        await self._note(member, told.having(missing))

    async def take(self, tenant: Tenant) -> None:
        """Write what somebody has been taken; raises as `give`, and is to be called again then."""
        await self._lose(_member(tenant.labels), _roles(tenant))

    async def take_all(self, labels: dict[str, str]) -> None:
        """The same of all that somebody had, by the labels of their tenant."""
        await self._lose(_member(labels), frozenset())

    def forget(self, obj: Object) -> None:
        """Its Member is gone: one of that name is another."""
        member = (str(obj["metadata"]["namespace"]), str(obj["metadata"]["name"]))
        self._told.pop(member, None)
        self._named.pop(member, None)

    def owe(self, binding: Object) -> None:
        """A right was taken that nobody asked for any more: no status can say that its line is missing."""
        self._owed += orphaned(binding)
        self._told.pop(_member(binding["metadata"]["labels"]), None)

    async def pay(self) -> None:
        """Write what is owed; raises as `give`, and is to be called again then."""
        if owed := list(self._owed):
            await self._folders.write(owed)
            del self._owed[: len(owed)]

    async def _lose(self, member: tuple[str, str], kept: frozenset[str]) -> None:
        told = self._told.get(member, Told())
        if not (lost := told.more_than(kept)):
            return
        await self._note(member, told.doubting(lost))
        await self._folders.write(self._named[member].lines(Verb.LOST, lost))
        await self._note(member, told.losing(lost))

    async def _note(self, member: tuple[str, str], told: Told) -> None:
        """In the Member's status, for the next process; whoever calls this has the tenant's lock."""
        self._told[member] = told
        await self._kube.note(Address(MEMBER, *member), str(told))


def _member(labels: dict[str, str]) -> tuple[str, str]:
    return labels[LABEL_VO], labels.get(LABEL_USER, "")


def _roles(tenant: Tenant) -> frozenset[str]:
    return frozenset(role.value for role in tenant.member.roles) if tenant.member else frozenset()
