"""What lets people ask to join a VO and its administrators decide, on a site where people log in."""

from __future__ import annotations

import pulumi

from infra.components.admission import declare_policy
from infra.memberships import POLICIES, rules
from primage.components.kubernetes_object import declare
from primage.contract import memberships
from primage.contract.tenant_objects.objects import RBAC


class Memberships(pulumi.ComponentResource):
    """The two kinds of object, the ClusterRoles that the authorizer binds, and the policies that keep people to themselves."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:site:Memberships", name, {}, opts)
        here = pulumi.ResourceOptions(parent=self)
        for obj in memberships.definitions():
            declare(f"{name}-{obj['spec']['names']['plural']}", obj, here)
        for policy in POLICIES:
            declare_policy(name, policy, here)
        for role, found in rules().items():
            metadata = {"name": role}
            obj = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": found}
            declare(f"{name}-clusterrole-{role}", obj, here)
        self.register_outputs({})
