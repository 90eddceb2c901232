"""Whose a namespace is."""

from __future__ import annotations

from authorizer.domain.errors import RefusedError
from primage.contract import names
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object


def has(obj: Object, labels: dict[str, str]) -> bool:
    """Whether an object carries all these labels."""
    return labels.items() <= (obj["metadata"].get("labels") or {}).items()


MADE_HERE = {names.LABEL_MADE_BY: names.MADE_BY_SITE}


def require_own(live: Object | None, tenant: Tenant) -> None:
    """Raise RefusedError where a namespace of the tenant's name is there and is somebody else's."""
    wanted = {**MADE_HERE, **tenant.labels}
    if live is None or has(live, wanted):
        return
    labels = live["metadata"].get("labels") or {}
    other = ", ".join(f"{key}={labels.get(key, '(none)')}" for key, value in sorted(wanted.items()) if labels.get(key) != value)
    raise RefusedError(
        f"namespace {tenant.namespace} is there and is not that of {tenant.identity} in {tenant.vo.name}: it has {other}. "
        "A person is a member of one VO on a site: take them out of the other, or remove that namespace"
    )
