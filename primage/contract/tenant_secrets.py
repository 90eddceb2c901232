"""Which Secrets of a site its tenants have copies of (tenant_objects/secrets.py)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from primage.contract.outputs import Settings
from primage.contract.spelling import like

_SecretName = Annotated[str, like(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?", "the name of a Secret in primage-system, or empty")]


class TenantSecretsConfig(Settings):
    """Secrets in `primage-system` that an operator makes, of which tenants have copies."""

    storage: _SecretName = Field(
        default="",
        description="Secret with what tenants reach the site's storage with, beside claims; empty where they need nothing. "
        "Key `<namespace>.<key>` becomes <key> of Secret access-primage-storage in that tenant's namespace, and in no other.",
    )
    pull: _SecretName = Field(
        default="",
        description="Secret of type kubernetes.io/dockerconfigjson that tenants' pods pull images with; empty where nodes log in "
        "by themselves. All tenants can read it: it must be for pulling alone.",
    )
