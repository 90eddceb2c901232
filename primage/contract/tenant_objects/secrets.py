"""A tenant's copies of Secrets that an operator keeps for a site: what it reaches storage with, and what its pods pull images with.

Of the site's programs the authorizer alone reads them: it has the operator's Secrets mounted. They are in no settings and no state.
"""

from __future__ import annotations

from collections.abc import Mapping

from primage.contract import names
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object, inside

PULL_TYPE, PULL_KEY = "kubernetes.io/dockerconfigjson", ".dockerconfigjson"
"""https://kubernetes.io/docs/concepts/configuration/secret/#docker-config-secrets"""


def storage(tenant: Tenant, source: Mapping[str, str]) -> Object | None:
    """Its own part of what the operator has for all; None where there is none.

    A namespace's name has no dots, so that no tenant's keys begin with another's.

    Args:
        source: the operator's Secret: values in Base64.
    """
    begin = f"{tenant.namespace}."
    data = {key.removeprefix(begin): value for key, value in source.items() if key.startswith(begin) and key != begin}
    return _secret(tenant, names.STORAGE_SECRET, "Opaque", data) if data else None


def pull(tenant: Tenant, source: Mapping[str, str]) -> Object | None:
    """What its pods pull with; as `storage`."""
    return _secret(tenant, names.PULL_SECRET, PULL_TYPE, {PULL_KEY: source[PULL_KEY]}) if PULL_KEY in source else None


def _secret(tenant: Tenant, name: str, kind: str, data: dict[str, str]) -> Object:
    return inside(tenant, "v1", "Secret", name, type=kind, data=data)
