"""`python -m hpc_connector`: the connector of one namespace, configured by its environment.

PRIMAGE_NAMESPACE, PRIMAGE_BACKENDS (names between commas), PRIMAGE_HOME (HOME/private as mounted), PRIMAGE_ALIVE (a file that
is touched at every turn).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

from lightkube import AsyncClient

from hpc_connector.connector import Connector
from hpc_connector.files import Home
from hpc_connector.kube import Kube

TURN_S = 10


async def run() -> None:
    """Until a signal says to end; nothing has to be put in order then."""
    alive = Path(os.environ["PRIMAGE_ALIVE"])
    kube = Kube(AsyncClient(field_manager="hpc-connector"), os.environ["PRIMAGE_NAMESPACE"])
    names = [name for name in os.environ["PRIMAGE_BACKENDS"].split(",") if name]
    connector = Connector(kube, Home(Path(os.environ["PRIMAGE_HOME"])), names, alive.touch)
    task = asyncio.current_task()
    assert task
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await connector.run()


def main() -> None:
    """Run until told to end."""
    os.umask(0o007)
    os.environ.setdefault("LOGNAME", "connector")  # asyncssh asks for the local user's name; a container's has none
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    for library in ("httpx", "httpx2", "httpcore2", "asyncssh"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        asyncio.run(run())
    except asyncio.CancelledError:
        logging.getLogger("hpc_connector").info("told to end")


if __name__ == "__main__":
    main()
