"""What lets people ask to join a VO and its administrators decide, on a site where people log in."""

from __future__ import annotations

import pulumi

from infra.components.admission import declare_policy
from infra.components.cluster_role import cluster_role
from infra.memberships import POLICIES, rules
from primage.components.kubernetes_object import declare
from primage.contract import memberships


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
            cluster_role(f"{name}-clusterrole-{role}", role, found, here)
        self.register_outputs({})
