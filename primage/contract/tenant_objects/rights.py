"""What a member may do, as bindings of ClusterRoles: in their own namespace and in the VO's."""

from __future__ import annotations

from primage.contract import names
from primage.contract.roles import Role, access
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import RBAC, Object, inside

EVERYBODY = "system:authenticated"
"""All whom the API server knows: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings"""


def bindings(tenant: Tenant, *, login: bool) -> list[Object]:
    """A member's, none for who has no role; in a VO's own namespace everybody may ask to join, and nobody is bound in its name.

    What is bound is part of the name: a binding's role can never be changed, so other rights are another binding.

    Args:
        login: whether people log in on the site, so that there is somebody to ask and to decide.
    """
    if tenant.member is None:
        everybody = {"kind": "Group", "apiGroup": RBAC, "name": EVERYBODY}
        return [_binding(tenant, "join", names.JOIN_ROLE, tenant, everybody)] if login else []
    own, shared = access(tenant.member.roles)
    there = Tenant(tenant.vo)
    given = [(tenant, "member", own), (there, f"member-{tenant.namespace}", shared)]
    person = {"kind": "User", "apiGroup": RBAC, "name": names.cluster_user(tenant.identity)}
    found = [_binding(where, f"{name}-{allowed}", allowed.value, tenant, person) for where, name, allowed in given if allowed]
    if login and Role.ADMIN in tenant.member.roles:
        found.append(_binding(there, f"member-{tenant.namespace}-membership", names.MEMBERSHIP_ROLE, tenant, person))
    return found


def _binding(where: Tenant, name: str, role: str, whose: Tenant, subject: Object) -> Object:
    about = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    made = inside(where, f"{RBAC}/v1", "RoleBinding", name, roleRef=about, subjects=[subject])
    made["metadata"]["labels"] = whose.labels
    return made
