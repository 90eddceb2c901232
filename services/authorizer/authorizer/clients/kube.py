"""What is said to the API server about tenants' objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import CascadeType, PatchType

from authorizer.clients.turns import Turns
from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.objects import BINDING, KINDS, MEMBER, ORGANISATION, OTHERS, SECRET, Address, Kind, address_of
from primage.contract import names
from primage.contract.custom_resources import AUDITED, Phase
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object

MANAGER = "primage-authorizer"
"""Field manager of all that is made here."""
AT_ONCE = 16
"""Requests at a time."""
PAGE = 250
OF_TENANTS = {names.LABEL_MADE_BY: names.MADE_BY_SITE, names.LABEL_VO: None}
"""What the site made that is some tenant's."""
GONE, UNFIT = 404, 422
RESOURCES: dict[Kind, Any] = {
    kind: (create_namespaced_resource if kind.namespaced else create_global_resource)(
        kind.group, kind.version, kind.kind, kind.plural
    )
    for kind in (*KINDS, *OTHERS)
}
LONGEST_PROBLEM = 2000
"""Characters of what is wrong that a status holds."""


Objects = list[Object]
"""Several; inside `Kube`, `list` is a method."""


class Kube:
    """Objects of tenants, by server-side apply."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._turn = Turns(AT_ONCE)

    async def apply(self, obj: Object) -> Object:
        """Make an object, or bring one that is there in line, whoever wrote its fields."""
        address = address_of(obj)
        try:
            return await self._applied(obj)
        except _UnfitError:
            if address.kind not in (BINDING, SECRET):
                raise
        # Somebody has made one of that name with another role, which no binding can change, or a Secret that never changes.
        await self.delete(address)
        return await self._applied(obj)

    async def _applied(self, obj: Object) -> Object:
        resource = RESOURCES[address_of(obj).kind]
        return await self._asked(self._client.apply(resource(obj), field_manager=MANAGER, force=True))

    async def create(self, obj: Object) -> Object | None:
        """Make an object of which there must be none yet; None where there is one."""
        try:
            return await self._asked(self._client.create(RESOURCES[address_of(obj).kind](obj), field_manager=MANAGER))
        except _ThereError:
            return None

    async def get(self, address: Address) -> Object | None:
        """The object; None where there is none."""
        try:
            return await self._asked(self._client.get(RESOURCES[address.kind], address.name, **_where(address)))
        except _MissingError:
            return None

    async def list(self, kind: Kind, **which: Any) -> Objects:
        """All objects of a kind.

        Args:
            which: `labels`, `fields` and `namespace` as the library takes them.
        """
        found = self._client.list(RESOURCES[kind], chunk_size=PAGE, **which)
        return [_plain(obj, kind) async for obj in _passing(found)]

    async def delete(self, address: Address) -> None:
        """Delete an object, and then what it owns; quiet where there is none."""
        resource = RESOURCES[address.kind]
        with suppress(_MissingError):
            await self._asked(self._client.delete(resource, address.name, cascade=CascadeType.BACKGROUND, **_where(address)))

    async def suspend(self, address: Address, why: str) -> None:
        """Suspend a Job and write down why, or let it go on where `why` is empty; quiet where there is none."""
        body = {"metadata": {"annotations": {names.ANNOTATION_SUSPENDED: why or None}}, "spec": {"suspend": bool(why)}}
        resource = RESOURCES[address.kind]
        with suppress(_MissingError):
            await self._asked(self._client.patch(resource, address.name, body, patch_type=PatchType.MERGE, **_where(address)))

    async def say(self, tenant: Tenant, phase: Phase, problem: str | None) -> None:
        """Write to a tenant's custom resource how it is; quiet where there is none any more.

        Args:
            problem: what is wrong, None for nothing.
        """
        name, vo = tenant.namespace, names.namespace_for(tenant.vo.name)
        address = Address(MEMBER, vo, name) if tenant.member else Address(ORGANISATION, "", name)
        await self._say(address, {"phase": phase.value, "problem": problem and problem[:LONGEST_PROBLEM]})

    async def note(self, member: Address, audited: str) -> None:
        """Write to a Member which roles the audit log has lines of; quiet as well."""
        await self._say(member, {AUDITED: audited})

    async def report(self, obj: Object, status: Object) -> None:
        """Write a status to this very object; quiet where it is gone, or another has its name.

        Args:
            status: None for a field that is to go.
        """
        address, about = address_of(obj), obj["metadata"]
        try:
            await self._say(address, status, about["resourceVersion"])
        except WaitingError:
            now = await self.get(address)
            if now is not None and now["metadata"]["uid"] == about["uid"]:
                raise

    async def _say(self, address: Address, status: Object, version: str = "") -> None:
        resource = RESOURCES[address.kind].Status
        with suppress(_MissingError):
            asked = {"patch_type": PatchType.MERGE, **_where(address)}
            body = {"status": status, **({"metadata": {"resourceVersion": version}} if version else {})}
            await self._asked(self._client.patch(resource, address.name, body, **asked))

    async def changes(self, kind: Kind, watch_s: float, **which: Any) -> AsyncIterator[tuple[str, Objects]]:
        """All objects of a kind (`LISTED`, in pages, and `COMPLETE`, once), then each that changes.

        A change is `ADDED`, `MODIFIED` or `DELETED`. It lasts `watch_s` seconds, to be started again then.

        Args:
            which: `labels`, `fields` and `namespace` as the library takes them; by default what the site made for tenants.

        The library's watch starts itself again for ever and a dead connection is silent: so the time is kept here.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + watch_s
        where: dict[str, Any] = which or {"labels": OF_TENANTS, **({"namespace": "*"} if kind.namespaced else {})}
        found = self._client.list(RESOURCES[kind], chunk_size=PAGE, **where)
        page: Objects = []
        async for obj in _passing(found):
            page.append(_plain(obj, kind))
            if len(page) == PAGE:
                yield "LISTED", page
                page = []
        yield "LISTED", page
        yield "COMPLETE", []
        events = self._client.watch(
            RESOURCES[kind],
            server_timeout=int(watch_s) + 10,
            resource_version=found.resourceVersion,
            **where,
        )
        async with aclosing(_passing(events)) as passing:
            while (left := end - loop.time()) > 0:
                try:
                    change, obj = await asyncio.wait_for(anext(passing), left)
                except (TimeoutError, StopAsyncIteration):
                    return
                yield change, [_plain(obj, kind)]

    async def _asked(self, request: Any) -> Object:
        async with self._turn:
            try:
                return dict(await request or {})
            except ApiError as error:
                raise _error_of(error) from error
            except httpx2.HTTPError as error:
                raise WaitingError(str(error) or type(error).__name__) from error


class _MissingError(RefusedError):
    """There is no such object."""


class _ThereError(WaitingError):
    """There is such an object already."""


class _UnfitError(RefusedError):
    """The object cannot be so, or cannot become so."""


def _where(address: Address) -> dict[str, Any]:
    return {"namespace": address.namespace} if address.kind.namespaced else {}


async def _passing(found: Any) -> AsyncGenerator[Any, None]:
    """The items, with the library's errors in our words."""
    try:
        async for item in found:
            yield item
    except ApiError as error:
        raise _error_of(error) from error
    except httpx2.HTTPError as error:
        raise WaitingError(str(error) or type(error).__name__) from error


def _error_of(error: ApiError) -> Exception:
    code = error.status.code or 0
    if code == GONE:
        return _MissingError(str(error))
    if error.status.reason == "AlreadyExists":
        return _ThereError(str(error))
    if code == UNFIT:
        return _UnfitError(str(error))
    # 409: a namespace that is going away, or a conflict; 410: a version too old to watch from; 429: too much at once.
    passes = code in {409, 410, 429} or code >= 500 or "being terminated" in str(error)
    return WaitingError(str(error)) if passes else RefusedError(str(error))


def _plain(obj: Any, kind: Kind) -> Object:
    """Lists give objects without what they all have in common, and with who wrote each field, which is the most of them."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
