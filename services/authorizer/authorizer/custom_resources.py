"""The handlers of VirtualOrganisations and Members: what they ask for is settled, and their status says how far it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import kopf

from authorizer.domain.errors import RefusedError, WaitingError
from authorizer.domain.objects import Object
from authorizer.tenants import Tenants
from primage.contract import names
from primage.contract.custom_resources import (
    GROUP,
    MEMBERS,
    OFFER,
    ORGANISATION,
    ORGANISATIONS,
    READY,
    REFUSED,
    VERSION,
    WAITING,
    digest_of,
    member_of,
    organisation_of,
)
from primage.contract.tenant import Tenant

FINALIZER = f"{GROUP}/authorizer"
NOTES = f"authorizer.{GROUP}"
"""Prefix of the annotations in which the framework keeps what it has done."""
WAIT_S, REFUSED_S = 1.0, 5.0
"""Until the next try."""
LONGEST_PROBLEM = 2000
log = logging.getLogger("authorizer")


def settings() -> kopf.OperatorSettings:
    """Of the framework: names of ours, no events, one process alone."""
    chosen = kopf.OperatorSettings()
    chosen.persistence.finalizer = FINALIZER
    chosen.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=NOTES)
    chosen.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=NOTES)
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.peering.standalone = True
    chosen.execution.default_backoff = REFUSED_S
    chosen.watching.server_timeout = 290
    chosen.watching.client_timeout = 310
    return chosen


def registry_of(tenants: Tenants, server: str) -> kopf.OperatorRegistry:
    """The handlers.

    Args:
        server: URL of the API server for a pod, by its address: the framework takes a name, and no pod of the system's reaches DNS.
    """
    registry = kopf.OperatorRegistry()

    async def settle(body: Any, patch: Any, **_: Any) -> None:
        obj: Object = dict(body)
        with _told(obj, patch):
            tenants.require_offer((obj["metadata"].get("annotations") or {}).get(OFFER, ""))
            tenant = tenant_of(obj, tenants)
            await tenants.settle(tenant)
        applied = digest_of(obj)
        if (body.get("status") or {}).get("applied") != applied:
            log.info("%s %s: ready in namespace %s", obj["kind"], tenant.identity, tenant.namespace)
        patch.status.update({"phase": READY, "applied": applied, "namespace": tenant.namespace, "problem": None})

    async def take_away(body: Any, patch: Any, **_: Any) -> None:
        obj: Object = dict(body)
        with _told(obj, patch):
            await tenants.take_away(labels_of(obj))
        log.info("%s %s: gone", obj["kind"], obj["metadata"]["name"])

    for plural in (ORGANISATIONS, MEMBERS):
        for event in (kopf.on.create, kopf.on.update, kopf.on.resume):
            event(GROUP, VERSION, plural, registry=registry, id="settle")(settle)
        kopf.on.delete(GROUP, VERSION, plural, registry=registry, id="take-away")(take_away)

    @kopf.on.login(registry=registry, id="login")
    def login(**given: Any) -> kopf.ConnectionInfo | None:
        inside = kopf.login_with_service_account(**given)
        return replace(inside, server=server) if inside else kopf.login_with_kubeconfig(**given)

    return registry


def tenant_of(obj: Object, tenants: Tenants) -> Tenant:
    """The tenant that an object asks for.

    Raises:
        RefusedError: it is not what such an object must be.
        WaitingError: it depends on one that is not there yet.
    """
    try:
        if obj["kind"] == ORGANISATION:
            return Tenant(organisation_of(obj))
        spec = member_of(obj)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    vo = tenants.vo_of(obj["metadata"]["namespace"])
    if vo is None:
        raise WaitingError(f"namespace {obj['metadata']['namespace']} is not known as that of a virtual organisation yet")
    return Tenant(vo.vo, spec)


def labels_of(obj: Object) -> dict[str, str]:
    """The labels of the tenant that an object asked for, whatever else it says."""
    name = obj["metadata"]["name"]
    if obj["kind"] == ORGANISATION:
        return {names.LABEL_VO: name}
    return {names.LABEL_VO: obj["metadata"]["namespace"], names.LABEL_USER: name}


@contextmanager
def _told(obj: Object, patch: Any) -> Iterator[None]:
    """What goes wrong is written to the object's status, and tried again."""
    try:
        yield
    except (RefusedError, WaitingError) as error:
        refused, problem = isinstance(error, RefusedError), str(error)[:LONGEST_PROBLEM]
        if (obj.get("status") or {}).get("problem") != problem:
            log.log(logging.ERROR if refused else logging.INFO, "%s %s: %s", obj["kind"], obj["metadata"]["name"], problem)
        patch.status.update({"phase": REFUSED if refused else WAITING, "problem": problem})
        raise kopf.TemporaryError(problem, delay=REFUSED_S if refused else WAIT_S) from error
