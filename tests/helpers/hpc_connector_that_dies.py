"""The connector of services/hpc_connector as a process of this machine, which kills itself (-9) at a named point.

Usage: hpc_connector_that_dies.py POINT, with the connector's own environment; POINT `never` is the plain connector.
"""

import functools
import os
import signal
import sys

from hpc_connector.__main__ import main
from hpc_connector.connector import Connector
from hpc_connector.kube import Kube
from hpc_connector.ssh import Account


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


POINTS = {
    "never": lambda: None,
    "before-intent": lambda: before(Kube, "annotate"),
    "before-staging": lambda: before(Account, "bring"),
    "after-staging": lambda: after(Account, "bring"),
    "before-sbatch": lambda: before(Account, "submit"),
    "after-sbatch": lambda: after(Account, "submit"),
    "before-recording": lambda: before(Kube, "annotate", lambda job, values: any("slurm-job" in key for key in values)),
    "before-staging-out": lambda: before(Account, "fetch"),
    "after-staging-out": lambda: after(Account, "fetch"),
    "before-the-end": lambda: before(Connector, "_finish"),
    "before-tidying": lambda: before(Account, "forget"),
    "before-cancel": lambda: before(Account, "cancel"),
    "after-cancel": lambda: after(Account, "cancel"),
}

if __name__ == "__main__":
    POINTS[sys.argv[1]]()
    main()
