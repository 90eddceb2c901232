"""Wiring: the loops of the authorizer, each of which ends the process when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

import kopf
from lightkube import AsyncClient
from pydantic import ValidationError

from authorizer.clients.folders import Folders
from authorizer.clients.kube import Kube
from authorizer.clients.sources import Sources
from authorizer.copies import Copies
from authorizer.custom_resources import registry_of, settings
from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.objects import CONFIG_MAP, DECISION, KINDS, REQUEST, Kind
from authorizer.keeper import AT_ONCE, Keeper
from authorizer.live import LiveObjects
from authorizer.memberships import Memberships
from authorizer.people import COMPARE_S, People
from authorizer.tenants import Tenants
from primage.contract import offer
from primage.contract.login import AUTHORITY_KEY
from primage.contract.offer import SiteOffer
from primage.contract.tenant_objects.objects import Object

BEAT_S, GRACE_S = 10.0, 60.0
"""Between two touches of the file; how much later than it should a watch may begin again."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
"""Before a watch is started again when the API server is away."""
log = logging.getLogger("authorizer")


class App:
    """The whole of it.

    Args:
        namespace: where the site's offer is.
        folders: socket of the container that makes folders.
        alive: touched every BEAT_S seconds.
        login: folder with the secret for the site's identity provider; None where there is none.
        watch_s: seconds between two comparisons of everything.
        sources: the operator's Secrets that tenants have copies of.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        namespace: str,
        folders: Path,
        alive: Path,
        login: Path | None,
        watch_s: float,
        sources: Sources,
    ) -> None:
        self._kube = Kube(client)
        self._server = str(client.config.cluster.server)
        self._live = LiveObjects()
        maker = Folders(folders)
        self._tenants = Tenants(self._kube, maker, self._live, _authority(login))
        self._keeper = Keeper(self._kube, self._tenants, self._live)
        self._copies = Copies(self._kube, self._tenants, sources, watch_s)
        self._people = People(self._kube, self._tenants, login, min(COMPARE_S, watch_s)) if login else None
        self._memberships = Memberships(self._kube, self._tenants, maker, login) if login else None
        self._namespace = namespace
        self._alive = alive
        self._watch_s = watch_s
        self._turned: dict[Callable[[], Coroutine[None, None, None]], float] = {}

    async def run(self) -> None:
        """Until one of the loops ends."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._again(self._read_offer))
            await self._tenants.offered.wait()
            for kind in KINDS:
                loops.create_task(self._again(self._watch(kind)))
            await self._live.complete.wait()
            for _ in range(AT_ONCE):
                loops.create_task(self._keeper.repair())
            loops.create_task(self._custom_resources())
            loops.create_task(self._again(lambda: self._keeper.sweep(self._watch_s)))
            loops.create_task(self._again(self._copies.follow))
            if self._people:
                loops.create_task(self._again(self._people.follow))
            if self._memberships:
                for kind in (REQUEST, DECISION):
                    loops.create_task(self._again(partial(self._memberships.watch, kind, self._watch_s)))
                    loops.create_task(self._memberships.work(kind))
            loops.create_task(self._beat())

    async def _custom_resources(self) -> None:
        await kopf.operator(
            registry=registry_of(self._tenants, self._keeper, self._copies, self._server),
            settings=settings(),
            clusterwide=True,
            standalone=True,
        )
        raise RuntimeError("the watch of custom resources has ended")

    def _watch(self, kind: Kind) -> Callable[[], Coroutine[None, None, None]]:
        return lambda: self._keeper.watch(kind, self._watch_s)

    async def _read_offer(self) -> None:
        which = {"fields": {"metadata.name": offer.CONFIG_MAP}, "namespace": self._namespace}
        async for change, found in self._kube.changes(CONFIG_MAP, self._watch_s, **which):
            if change != "DELETED":
                for obj in found:
                    self._take(obj)

    def _take(self, obj: Object) -> None:
        try:
            read = SiteOffer.model_validate_json((obj.get("data") or {})[offer.KEY])
        except (KeyError, ValidationError) as error:
            log.error("config map %s is no offer, and the last one stays: %s", offer.CONFIG_MAP, error)
            return
        if self._tenants.change_offer(read):
            log.info("the site's offer is %s", read.digest)
            self._keeper.everybody()

    async def _again(self, watch: Callable[[], Coroutine[None, None, None]]) -> None:
        """A watch, again and again; an API server that is away is waited for."""
        pause = FIRST_PAUSE_S
        while True:
            self._turned[watch] = asyncio.get_running_loop().time()
            try:
                await watch()
                pause = FIRST_PAUSE_S
            except (WaitingError, RefusedError, KeyError, ValueError) as error:  # the last two: an answer that was cut off
                log.warning("%s", error or type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)

    async def _beat(self) -> None:
        """Touch the file as long as every watch begins again in its time."""
        while True:
            latest = asyncio.get_running_loop().time() - self._watch_s - GRACE_S
            if all(turned > latest for turned in self._turned.values()):
                self._alive.touch()
            await asyncio.sleep(BEAT_S)


def _authority(login: Path | None) -> str:
    """The certificate that vouches for the identity provider, of which sessions are told as well; empty where there is none."""
    found = login / AUTHORITY_KEY if login else None
    return found.read_text(encoding="utf-8") if found and found.exists() else ""
