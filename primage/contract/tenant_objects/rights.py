"""What a member may do, as bindings of ClusterRoles: in their own namespace and in the VO's."""

from __future__ import annotations

from primage.contract import names
from primage.contract.roles import Access, access
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import RBAC, Object, inside


def bindings(tenant: Tenant) -> list[Object]:
    """A member's, none for who has no role; nobody is bound in the name of a VO.

    What is bound is part of the name: a binding's role can never be changed, so other rights are another binding.
    """
    if tenant.member is None:
        return []
    own, shared = access(tenant.member.roles)
    there = Tenant(tenant.vo)
    return [
        _binding(where, f"{name}-{allowed}", allowed, tenant)
        for where, name, allowed in ((tenant, "member", own), (there, f"member-{tenant.namespace}", shared))
        if allowed
    ]


def _binding(where: Tenant, name: str, allowed: Access, whose: Tenant) -> Object:
    made = inside(
        where,
        f"{RBAC}/v1",
        "RoleBinding",
        name,
        roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": allowed.value},
        subjects=[{"kind": "User", "apiGroup": RBAC, "name": names.cluster_user(whose.identity)}],
    )
    made["metadata"]["labels"] = whose.labels
    return made
