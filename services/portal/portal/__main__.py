"""`python -m portal`: serves the site's web pages, configured by a folder.

PRIMAGE_PORTAL (/run/portal) is the folder (portal/settings.py); PRIMAGE_PORTAL_PORT the port to listen on (8443).
"""

from __future__ import annotations

import gc
import logging
import os
import ssl
import sys
import threading
import time
from pathlib import Path

import uvicorn

from portal.app import application, portal_with
from portal.connection import Connection
from portal.settings import read_folder
from primage.contract import one_line
from primage.contract.names import PORTAL_PORT

CONNECTIONS = 200
"""At a time; who comes then is told to come again."""
IDLE_S, GRACE_S = 15, 5
"""How long a connection is kept without a request, and how long the last requests have when it ends."""
MOST_HEADERS = 16 * 1024
RENEW_S = 60
"""Between two looks at the certificate's file."""


def main() -> None:
    """Serve until told to end."""
    one_line.begin()
    folder = Path(os.environ.get("PRIMAGE_PORTAL", "/run/portal"))
    try:
        given = read_folder(folder)
    except (OSError, ValueError) as error:
        logging.getLogger("portal").error("%s does not hold a portal's settings: %s", folder, error)
        sys.exit(2)
    certificate, key = given.certificate
    config = uvicorn.Config(
        application(portal_with(given)),
        host="",  # every address, of both kinds
        port=int(os.environ.get("PRIMAGE_PORTAL_PORT", PORTAL_PORT)),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        # An address of a login's end has the code in it.
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=MOST_HEADERS,
        http=Connection,
        ws="none",
        lifespan="off",
        log_level="warning",
    )
    config.load()
    assert config.ssl
    # What stays for ever is not looked through for garbage after each long list.
    gc.freeze()
    threading.Thread(target=_renew, args=(config.ssl, certificate, key), daemon=True).start()
    uvicorn.Server(config).run()


def _renew(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Show the certificate that is there by now to whoever comes next; who is logged in stays so."""
    shown = certificate.read_bytes()
    while True:
        time.sleep(RENEW_S)
        if (found := certificate.read_bytes()) != shown:
            try:
                context.load_cert_chain(certificate, key)
            except (OSError, ssl.SSLError) as error:  # half of it is there
                logging.getLogger("portal").warning("the new certificate cannot be used yet: %s", error)
            else:
                shown = found


if __name__ == "__main__":
    main()
