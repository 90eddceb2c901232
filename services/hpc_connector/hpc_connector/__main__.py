"""`python -m hpc_connector`: the connector of one virtual organisation (VO), configured by its environment.

PRIMAGE_VO, the VO's name; PRIMAGE_HOME, the socket of the container that reads and writes HOME (`hpc_connector.home`);
PRIMAGE_ALIVE, a file that is touched as long as every loop turns; PRIMAGE_BACKENDS, the HPC centres: a JSON list of
`primage.contract.hpc.Backend`, written by the site. Nothing that a tenant's objects say of a backend is believed, since
credentials go where this list says.

Seconds, which tests shorten: PRIMAGE_WATCH_S (290), after which a watch is started again; PRIMAGE_IDLE_S (300), between two looks
at a backend without jobs; PRIMAGE_BEAT_S (10), between two touches of the file; PRIMAGE_GRACE_S (30), how much later than it said
a loop may turn before its namespace's connector is started again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from hpc_connector.clients.home import Home
from hpc_connector.clients.kube import Kube, Members, connect
from hpc_connector.clients.shares import Shares
from hpc_connector.connector import Connector, Periods
from hpc_connector.domain.tenant import Tenant
from hpc_connector.organisation import Organisation
from primage.contract.hpc import backends_of
from primage.contract.names import namespace_for

UNFIT = 2
"""Exit status where the environment is not what it must be."""


def organisation_of(environment: Mapping[str, str]) -> Organisation:
    """The VO that the environment describes; raises KeyError or ValueError."""
    default = Periods()
    periods = Periods(
        watch_s=float(environment.get("PRIMAGE_WATCH_S", default.watch_s)),
        idle_s=float(environment.get("PRIMAGE_IDLE_S", default.idle_s)),
        beat_s=float(environment.get("PRIMAGE_BEAT_S", default.beat_s)),
        grace_s=float(environment.get("PRIMAGE_GRACE_S", default.grace_s)),
    )
    backends, vo = backends_of(environment["PRIMAGE_BACKENDS"]), environment["PRIMAGE_VO"]
    alive, home = Path(environment["PRIMAGE_ALIVE"]), Path(environment["PRIMAGE_HOME"])
    client, shares = connect(), Shares()

    def connector(tenant: Tenant) -> Connector:
        return Connector(Kube(client, tenant, shares), Home(home, tenant.folder), backends, shares, periods)

    return Organisation(vo, Members(client, namespace_for(vo)), connector, alive.touch, periods)


async def run() -> None:
    """Until a signal says to end; nothing has to be put in order then."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    await organisation_of(os.environ).run()


def main() -> None:
    """Run until told to end; any other end is an error, after which it is to be started again."""
    os.environ.setdefault("LOGNAME", "connector")  # asyncssh asks for the local user's name; a container's has none
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    for library in ("httpx", "httpx2", "httpcore2", "asyncssh"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        backends_of(os.environ["PRIMAGE_BACKENDS"])
    except (KeyError, ValueError) as error:
        logging.getLogger("hpc_connector").error("PRIMAGE_BACKENDS is not a list of backends: %r", error)
        sys.exit(UNFIT)
    try:
        asyncio.run(run())
    except asyncio.CancelledError:
        logging.getLogger("hpc_connector").info("told to end")


if __name__ == "__main__":
    main()
