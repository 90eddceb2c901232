"""What is said to the API server about tenants' objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.generic_resource import create_global_resource, create_namespaced_resource

from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.objects import KINDS, VOLUME, Address, Kind, Object, address_of
from primage.contract import names

MANAGER = "primage-authorizer"
"""Field manager of all that is made here."""
AT_ONCE = 16
"""Requests at a time."""
PAGE = 250
OF_TENANTS = {names.LABEL_MADE_BY: names.MADE_BY_SITE, names.LABEL_VO: None}
"""What the site made that is some tenant's."""
GONE = 404
RESOURCES: dict[Kind, Any] = {
    kind: (create_namespaced_resource if kind.namespaced else create_global_resource)(
        kind.group, kind.version, kind.kind, kind.plural
    )
    for kind in KINDS
}


class Kube:
    """Objects of tenants, by server-side apply."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def apply(self, obj: Object) -> Object:
        """Make an object, or bring one that is there in line, whoever wrote its fields."""
        resource = RESOURCES[address_of(obj).kind]
        return await self._asked(self._client.apply(resource(obj), field_manager=MANAGER, force=True))

    async def get(self, address: Address) -> Object | None:
        """The object; None where there is none."""
        resource = RESOURCES[address.kind]
        where = {"namespace": address.namespace} if address.kind.namespaced else {}
        try:
            return await self._asked(self._client.get(resource, address.name, **where))
        except _MissingError:
            return None

    async def delete(self, address: Address) -> None:
        """Delete an object; quiet where there is none."""
        resource = RESOURCES[address.kind]
        where: dict[str, Any] = {"namespace": address.namespace} if address.kind.namespaced else {}
        try:
            await self._asked(self._client.delete(resource, address.name, **where))
        except _MissingError:
            return

    async def volumes_of(self, labels: dict[str, str]) -> list[Object]:
        """The persistent volumes with these labels."""
        found = self._client.list(RESOURCES[VOLUME], chunk_size=PAGE, labels={**labels})
        return [_plain(obj, VOLUME) async for obj in _passing(found)]

    async def changes(self, kind: Kind, watch_s: float, **which: Any) -> AsyncIterator[tuple[str, list[Object]]]:
        """All objects of a kind (`ALL`, once), then each that changes (`ADDED`, `MODIFIED`, `DELETED`), for `watch_s` seconds.

        Args:
            which: `labels`, `fields` and `namespace` as the library takes them; by default what the site made for tenants.

        The library's watch starts itself again for ever and a dead connection is silent: so the time is kept here.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + watch_s
        where: dict[str, Any] = which or {"labels": OF_TENANTS, **({"namespace": "*"} if kind.namespaced else {})}
        found = self._client.list(RESOURCES[kind], chunk_size=PAGE, **where)
        listed = [_plain(obj, kind) async for obj in _passing(found)]
        yield "ALL", listed
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
    # 409: a namespace that is going away, or a conflict; 410: a version too old to watch from; 429: too much at once.
    passes = code in {409, 410, 429} or code >= 500 or "being terminated" in str(error)
    return WaitingError(str(error)) if passes else RefusedError(str(error))


def _plain(obj: Any, kind: Kind) -> Object:
    """Lists give objects without what they all have in common."""
    return {**obj, "apiVersion": kind.api_version, "kind": kind.kind}
