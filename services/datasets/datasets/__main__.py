"""`python -m datasets`: serves cases and datasets, configured by a folder.

PRIMAGE_DATASETS (/run/datasets) is the folder (datasets/settings.py); PRIMAGE_DATASETS_PORT the port to listen on (8443).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvicorn

from datasets.app import application, service_with
from datasets.domain.errors import FormError, RecordsAwayError
from datasets.log import log
from datasets.settings import read_folder
from primage.contract import one_line

PORT, CONNECTIONS, GRACE_S = 8443, 200, 5


def main() -> None:
    """Serve until told to end."""
    one_line.begin()
    folder = Path(os.environ.get("PRIMAGE_DATASETS", "/run/datasets"))
    try:
        given = read_folder(folder)
        service = service_with(given)
    except (FormError, RecordsAwayError, OSError, ValueError) as error:
        log.error("%s: %s", folder, error)
        sys.exit(2)
    certificate, key = given.certificate
    uvicorn.run(
        application(service),
        host="",  # every address, of both kinds
        port=int(os.environ.get("PRIMAGE_DATASETS_PORT", PORT)),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        # An address has what somebody looks for; the audit log has who looked.
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
        ws="none",
        lifespan="off",
        log_level="warning",
    )


if __name__ == "__main__":
    main()
