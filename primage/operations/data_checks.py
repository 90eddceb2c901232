"""Checks of what keeps a site's medical images and clinical records, asked through the API server as no service asks it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any

from primage.clients.cluster import Cluster, Ref
from primage.clients.port_forward import PortForward
from primage.clients.tls import certificate_end_there
from primage.clients.web import status_there
from primage.contract.image_archive import AUTHORITY_KEY, PASSWORD_KEY, USER, WEB_PATH, WEB_PORT, login_secret, shelf_host
from primage.contract.names import CLINICAL_RECORDS, IMAGE_ARCHIVE, SYSTEM_NAMESPACE
from primage.contract.records import PORT
from primage.errors import ExitCode, PrimageError
from primage.projects.offer import site_settings

DAYS = 30
"""That a certificate is good for."""
Outcome = tuple[bool, str]
ASKED = f"{WEB_PATH}/studies?limit=1"


def data_looks(site: str, cluster: Cluster) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Each check's name, and what tries it; none where the site keeps neither."""
    settings = site_settings(site)
    if settings.image_archive:
        for shelf in settings.image_archive.shelves:
            yield f"image archive {shelf.vo}", partial(_shelf, cluster, settings.image_archive, shelf.vo)
    if settings.clinical_records:
        yield "clinical records", partial(_records, cluster, settings.clinical_records)


def _shelf(cluster: Cluster, archive: Any, vo: str) -> Outcome:
    """It lets the service in, and nobody who has no password."""
    authority = _shown(cluster, archive.certificate_secret, AUTHORITY_KEY)
    password = _shown(cluster, login_secret(vo), PASSWORD_KEY)
    host = shelf_host(vo)
    with PortForward(cluster, Ref("v1", "Pod", f"{IMAGE_ARCHIVE}-0", SYSTEM_NAMESPACE), WEB_PORT) as forward:
        known = status_there(forward.port, host, ASKED, authority=authority, login=(USER, password))
        nobody = status_there(forward.port, host, ASKED, authority=authority)
    ok = known in (HTTPStatus.OK, HTTPStatus.NO_CONTENT) and nobody == HTTPStatus.UNAUTHORIZED
    return ok, f"{host} answers its service with HTTP {known}, and others with {nobody}"


def _records(cluster: Cluster, records: Any) -> Outcome:
    """It has the certificate that the service looks for."""
    authority = _shown(cluster, records.certificate_secret, AUTHORITY_KEY)
    with PortForward(cluster, Ref("v1", "Pod", f"{CLINICAL_RECORDS}-0", SYSTEM_NAMESPACE), PORT) as forward:
        ends = certificate_end_there(forward.port, records.members[0], authority=authority)
    days = (ends - datetime.now(UTC)).days
    return days > DAYS, f"{records.members[0]} answers by TLS; its certificate ends in {days} days"


def _shown(cluster: Cluster, secret: str, key: str) -> str:
    found = cluster.get(Ref("v1", "Secret", secret, SYSTEM_NAMESPACE)) or {}
    text = (found.get("data") or {}).get(key)
    if text is None:
        raise PrimageError(
            f"Secret {secret} in namespace {SYSTEM_NAMESPACE} is not there, or has no {key}",
            todo="run `primage up` for the site; a certificate of your own has to be put there",
            code=ExitCode.FAILED,
        )
    return base64.b64decode(text).decode()
