"""Whom a connector serves: the VO itself, and those whom its Members name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from primage.contract.names import LABEL_MADE_BY, LABEL_USER, MADE_BY_SITE, namespace_for, tenant_labels


@dataclass(frozen=True)
class Tenant:
    """A VO's own namespace, or a member's.

    Attributes:
        folder: name of its private folder.
        vo: the VO's namespace.
    """

    namespace: str
    folder: str
    vo: str

    def has(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace with these labels, which nobody but an operator can write, is this tenant's."""
        own = tenant_labels(self.vo, "" if self.namespace == self.vo else self.namespace)
        wanted = {LABEL_USER: "", **own, LABEL_MADE_BY: MADE_BY_SITE}
        return all(labels.get(key, "") == value for key, value in wanted.items())


def tenant_of_vo(vo: str) -> Tenant:
    """The VO's own."""
    return Tenant(namespace_for(vo), vo, namespace_for(vo))


def tenant_of_member(vo: str, member: Mapping[str, Any]) -> Tenant | None:
    """Whom an object Member is of; None where nothing was made for them yet, or what it says does not fit together.

    Tenants cannot write Members. The namespace is what the authorizer says that it has made, and has to be the identity's own.
    """
    identity = (member.get("spec") or {}).get("identity")
    if not isinstance(identity, str) or not identity:
        return None
    space, own = namespace_for(identity), namespace_for(vo)
    fits = space == member["metadata"]["name"] == (member.get("status") or {}).get("namespace")
    return Tenant(space, identity, own) if fits and space != own else None
