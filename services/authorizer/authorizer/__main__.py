"""`python -m authorizer`: makes tenants' objects, configured by its environment.

PRIMAGE_NAMESPACE, where the config map with the site's offer is; PRIMAGE_FOLDERS, the socket of the container that makes
folders; PRIMAGE_LOGIN, a folder with the secret for the identity provider, where the site has one; PRIMAGE_STORAGE and
PRIMAGE_PULL, folders with the operator's Secrets that tenants have copies of, where the site has them; PRIMAGE_ALIVE, a file
that is touched as long as every watch turns; PRIMAGE_WATCH_S (290), seconds after which everything is listed again and
compared, which tests shorten.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from lightkube import AsyncClient

from authorizer.app import App
from authorizer.clients.kube import MANAGER
from authorizer.clients.sources import Sources

QUIET = ("httpx", "httpcore", "httpx2", "httpcore2", "kopf", "aiohttp")
USUAL = ("failed temporarily", "inconsistencies: (('remove', ('metadata', 'annotations'),")
"""What the framework says of each try, which a status tells, and of an object whose last annotation it has taken away."""


async def run() -> None:
    """Until a signal says to end; nothing has to be put in order then."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    app = App(
        AsyncClient(field_manager=MANAGER),
        namespace=os.environ["PRIMAGE_NAMESPACE"],
        folders=Path(os.environ["PRIMAGE_FOLDERS"]),
        alive=Path(os.environ["PRIMAGE_ALIVE"]),
        login=_folder("PRIMAGE_LOGIN"),
        watch_s=float(os.environ.get("PRIMAGE_WATCH_S", "290")),
        sources=Sources(storage=_folder("PRIMAGE_STORAGE"), pull=_folder("PRIMAGE_PULL")),
    )
    await app.run()


def _folder(variable: str) -> Path | None:
    """What a variable names; None where it is not set."""
    return Path(os.environ[variable]) if os.environ.get(variable) else None


def main() -> None:
    """Run until told to end; any other end is an error, after which it is to be started again."""
    os.environ.setdefault("LOGNAME", "authorizer")  # kopf asks for the local user's name; a container's has none
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    for library in QUIET:
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger("kopf.objects").addFilter(lambda record: not any(words in record.getMessage() for words in USUAL))
    missing = [name for name in ("PRIMAGE_NAMESPACE", "PRIMAGE_FOLDERS", "PRIMAGE_ALIVE") if not os.environ.get(name)]
    if missing:
        logging.getLogger("authorizer").error("%s must be set: see the module's description", ", ".join(missing))
        sys.exit(2)
    try:
        asyncio.run(run())
    except asyncio.CancelledError:
        logging.getLogger("authorizer").info("told to end")


if __name__ == "__main__":
    main()
