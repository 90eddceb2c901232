"""One connector for each namespace of a virtual organisation (VO): its own, and those of its members as they come and go.

They share this process and the ways out of it, and nothing else: each has rights in its own namespace from a binding there, the
credentials and the HOME of that namespace, and loops of its own. A mistake in one ends that one, which is started again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hpc_connector.clients.kube import Members
from hpc_connector.connector import AGAIN_S, LIST_S, Connector, Periods
from hpc_connector.domain.errors import RejectedError, UnavailableError
from hpc_connector.domain.tenant import Tenant, tenant_of_member, tenant_of_vo
from hpc_connector.monitor import retry_s
from hpc_connector.pulse import Heart, Pulse

log = logging.getLogger("hpc_connector")
LASTED_S = 300.0
"""A connector that ran this long is started again as if it had never failed."""
PATIENCE_S = 60.0
"""For the loops of one that is ended since one of them was late; if they do not end, all have to."""


class Organisation:
    """The namespaces that are served.

    Args:
        vo: the VO's name.
        connector: makes the one of a tenant.
        touch: called as long as all loops turn.
    """

    def __init__(
        self, vo: str, members: Members, connector: Callable[[Tenant], Connector], touch: Callable[[], None], periods: Periods
    ) -> None:
        self._vo = vo
        self._members = members
        self._connector = connector
        self._periods = periods
        self._pulse = Pulse(periods.grace_s)
        self._heart = Heart(touch, periods.beat_s, PATIENCE_S)
        self._served: dict[Tenant, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with self._group as group:
            self._heart.follow("members", self._pulse, ended_when_late=False)
            group.create_task(self._heart.beat_forever())
            self._open(tenant_of_vo(self._vo))
            group.create_task(self._follow_members())

    async def _follow_members(self) -> None:
        failures = 0
        while True:
            self._pulse.expect("watch", self._periods.watch_s + LIST_S)
            try:
                async for change, members in self._members.changes(self._periods.watch_s):
                    failures = 0
                    self._take(change, {tenant for one in members if (tenant := tenant_of_member(self._vo, one))})
            except (UnavailableError, RejectedError) as error:
                failures += 1
                log.warning("cannot follow the members: %s", error)
                await asyncio.sleep(min(AGAIN_S, retry_s(failures)))

    def _take(self, change: str, found: set[Tenant]) -> None:
        there = set() if change == "DELETED" else found
        gone = set(self._served) - found - {tenant_of_vo(self._vo)} if change == "ALL" else found - there
        for tenant in gone:
            self._close(tenant)
        for tenant in there:
            self._open(tenant)

    def _open(self, tenant: Tenant) -> None:
        if tenant not in self._served:
            log.info("%s: served", tenant.namespace)
            self._served[tenant] = self._group.create_task(self._serve(tenant))

    def _close(self, tenant: Tenant) -> None:
        if task := self._served.pop(tenant, None):
            log.info("%s: served no longer", tenant.namespace)
            task.cancel()

    async def _serve(self, tenant: Tenant) -> None:
        """Run the tenant's connector, and again whenever it ends: that is a mistake, or something that hangs."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            begun, connector = loop.time(), self._connector(tenant)
            self._heart.follow(tenant.namespace, connector.pulse, ended_when_late=True)
            try:
                await connector.run()
            except Exception:
                log.exception("%s: its connector has ended, and is started again", tenant.namespace)
            finally:
                self._heart.let_go(tenant.namespace, connector.pulse)
            failures = 1 if loop.time() - begun > LASTED_S else failures + 1
            await asyncio.sleep(retry_s(failures))
