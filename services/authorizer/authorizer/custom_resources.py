"""The handlers of VirtualOrganisations and Members: what they ask for is settled, and their status says how far it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import kopf

from authorizer.clients.kube import LONGEST_PROBLEM
from authorizer.copies import Copies
from authorizer.domain.errors import RefusedError, WaitingError, phase_of
from authorizer.keeper import Keeper
from authorizer.tenants import Tenants
from primage.contract import names
from primage.contract.custom_resources import (
    FINALIZER,
    GROUP,
    HANDLED,
    MEMBER,
    MEMBERS,
    ORGANISATION,
    ORGANISATIONS,
    VERSION,
    Phase,
    digest_of,
    member_of,
    organisation_of,
)
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object

NOTES = f"kopf.{GROUP}"
"""Prefix of the annotations in which the framework keeps what it is to try again. With one that does not begin so, it marks every
object as its own, by another request for each."""
WAIT_S, REFUSED_S = 0.25, 5.0
"""Until the next try: of what is on its way, soon and then later and later; of what a person has to put right."""
MOST_DOUBLED = 8
log = logging.getLogger("authorizer")


def settings() -> kopf.OperatorSettings:
    """Of the framework: names of ours, no events, one process alone."""
    chosen = kopf.OperatorSettings()
    chosen.persistence.finalizer = FINALIZER
    chosen.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=NOTES)
    # In the status, which is written anyway: an annotation would be another request for everybody who is made.
    chosen.persistence.diffbase_storage = kopf.StatusDiffBaseStorage(field=f"status.{HANDLED}")
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.peering.standalone = True
    chosen.execution.default_backoff = REFUSED_S
    chosen.watching.server_timeout = 290
    chosen.watching.client_timeout = 310
    return chosen


def registry_of(tenants: Tenants, keeper: Keeper, copies: Copies, server: str) -> kopf.OperatorRegistry:
    """The handlers.

    Args:
        server: URL of the API server for a pod, by its address: the framework takes a name, and no pod of the system's reaches DNS.
    """
    registry = kopf.OperatorRegistry()

    async def settle(body: Any, patch: Any, retry: int, **_: Any) -> None:
        obj: Object = dict(body)
        annotations = obj["metadata"].get("annotations") or {}
        _meet(obj, tenants)
        with _told(obj, patch, retry):
            tenant = tenant_of(obj, tenants)
            if annotations.get(names.ANNOTATION_PAUSED) == "true":
                tenants.pause(tenant)
                patch.status.update({"phase": Phase.PAUSED.value, "problem": None})
                return
            made = await tenants.settle(
                tenant, again=retry > 0, had_all=(body.get("status") or {}).get("applied") == digest_of(obj)
            )
            await copies.give(tenant)
            if tenant.member is None:
                keeper.follow(tenant)
            # Last: who waits for another offer is looked after as well as anybody.
            tenants.require_offer(annotations.get(names.ANNOTATION_OFFER, ""))
            await tenants.ready(tenant)
        applied = digest_of(obj)
        if (body.get("status") or {}).get("applied") != applied:
            log.info("%s %s: ready in namespace %s", obj["kind"], tenant.identity, tenant.namespace)
        where = {"namespace": tenant.namespace, "made": made}
        patch.status.update({"phase": Phase.READY.value, "applied": applied, "problem": None, **where})

    async def take_away(body: Any, patch: Any, retry: int, **_: Any) -> None:
        obj: Object = dict(body)
        _meet(obj, tenants)
        with _told(obj, patch, retry):
            await tenants.take_away(obj["metadata"]["name"], labels_of(obj))
        if obj["kind"] == MEMBER:
            tenants.rights.forget(obj)
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
    vo = tenants.get(obj["metadata"]["namespace"])
    if vo is None or vo.member is not None:
        raise WaitingError(f"namespace {obj['metadata']['namespace']} is not known as that of a virtual organisation yet")
    return Tenant(vo.vo, spec)


def labels_of(obj: Object) -> dict[str, str]:
    """The labels of the tenant that an object asked for, whatever else it says."""
    name = obj["metadata"]["name"]
    return names.tenant_labels(name) if obj["kind"] == ORGANISATION else names.tenant_labels(obj["metadata"]["namespace"], name)


def _meet(obj: Object, tenants: Tenants) -> None:
    """Have the audit log know who a Member is."""
    if obj["kind"] == MEMBER:
        space = obj["metadata"]["namespace"]
        vo = tenants.get(space)
        tenants.rights.meet(obj, vo.vo.name if vo else space)


@contextmanager
def _told(obj: Object, patch: Any, retry: int) -> Iterator[None]:
    """What goes wrong is written to the object's status, and tried again.

    Args:
        retry: how often it was tried before.
    """
    try:
        yield
    except (RefusedError, WaitingError) as error:
        phase, problem = phase_of(error), str(error)[:LONGEST_PROBLEM]
        delay = REFUSED_S if phase is Phase.REFUSED else min(REFUSED_S, WAIT_S * 2 ** min(retry, MOST_DOUBLED))
        if (obj.get("status") or {}).get("problem") != problem:
            level = logging.ERROR if phase is Phase.REFUSED else logging.INFO
            log.log(level, "%s %s: %s", obj["kind"], obj["metadata"]["name"], problem)
        patch.status.update({"phase": phase.value, "problem": problem})
        raise kopf.TemporaryError(problem, delay=delay) from error
