"""The connector of services/hpc_connector as a process of this machine, which kills itself (-9) at a named point, or loses a loop.

Usage: hpc_connector_that_dies.py POINT, with the connector's own environment; POINT `never` is the plain connector.
"""

import asyncio
import functools
import os
import signal
import sys

from hpc_connector import connector, monitor
from hpc_connector.__main__ import main
from hpc_connector.clients.kube import Kube
from hpc_connector.clients.rest_transport import RestTransport
from hpc_connector.clients.shell_transport import ShellTransport
from hpc_connector.connector import Connector
from hpc_connector.monitor import BackendMonitor

ONE_OF = "ada-at-vo-dot-eu"
"""The namespace in which something goes wrong, where it does in one."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner, name, when=lambda *_: True):
    inner = getattr(owner, name)

    @functools.wraps(inner)
    async def dying(self, *arguments, **more):
        if when(*arguments):
            die()
        return await inner(self, *arguments, **more)

    setattr(owner, name, dying)


def after(owner, name):
    inner = getattr(owner, name)

    @functools.wraps(inner)
    async def dying(self, *arguments, **more):
        await inner(self, *arguments, **more)
        die()

    setattr(owner, name, dying)


def either(patch, name):
    for kind in (ShellTransport, RestTransport):
        patch(kind, name)


def later(owner, name, what):
    """From the second call on, something else."""
    inner, calls = getattr(owner, name), []

    @functools.wraps(inner)
    async def changed(self, *arguments, **more):
        calls.append(name)
        return await (inner(self, *arguments, **more) if len(calls) == 1 else what())

    setattr(owner, name, changed)


def of_one(what):
    """In one namespace, every list of its jobs."""
    inner = Kube.changes

    async def changed(self, watch_s):
        if self.namespace == ONE_OF:
            await what()
        async for found in inner(self, watch_s):
            yield found

    Kube.changes = changed


async def hang():
    await asyncio.Event().wait()


async def fail():
    raise ZeroDivisionError("a mistake nobody thought of")


POINTS = {
    "never": lambda: None,
    "look-hangs": lambda: (setattr(monitor, "LOOK_S", 0.5), later(BackendMonitor, "_look", hang)),
    "look-fails": lambda: later(BackendMonitor, "_look", fail),
    "little-memory": lambda: setattr(connector, "JOBS_BYTES", 1 << 20),
    "one-fails": lambda: of_one(fail),
    "one-hangs": lambda: (setattr(connector, "LIST_S", 0.1), of_one(hang)),
    "before-intent": lambda: before(Kube, "annotate"),
    "before-staging": lambda: either(before, "bring"),
    "after-staging": lambda: either(after, "bring"),
    "before-sbatch": lambda: either(before, "submit"),
    "after-sbatch": lambda: either(after, "submit"),
    "before-recording": lambda: before(Kube, "annotate", lambda job, values: any("slurm-job" in key for key in values)),
    "before-staging-out": lambda: either(before, "fetch"),
    "after-staging-out": lambda: either(after, "fetch"),
    "before-the-end": lambda: before(Connector, "_finish"),
    "before-tidying": lambda: either(before, "forget"),
    "before-cancel": lambda: either(before, "cancel"),
    "after-cancel": lambda: either(after, "cancel"),
}

if __name__ == "__main__":
    POINTS[sys.argv[1]]()
    main()
