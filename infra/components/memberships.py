"""What lets people ask to join a VO and its administrators decide, on a site where people log in."""

from __future__ import annotations

from typing import Any

import pulumi

from infra.admission.memberships import POLICIES
from infra.components.admission import declare_policy
from infra.components.cluster_role import cluster_role
from primage.components.kubernetes_object import declare
from primage.contract import memberships, names
from primage.contract.custom_resources import GROUP, MEMBERS
from primage.contract.memberships import DECISIONS, REQUESTS


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


def rules() -> dict[str, list[dict[str, Any]]]:
    """Of the ClusterRoles that the authorizer binds in each VO's namespace, by name."""
    # Who may delete their own may read it (Cluster.deletable). Nobody may patch one: what a patch makes of somebody else's is
    # validated, and quoted in the answer, before admission is asked.
    ask = {"apiGroups": [GROUP], "resources": [REQUESTS], "verbs": ["create", "delete"]}
    look = {"apiGroups": [GROUP], "resources": [MEMBERS, REQUESTS, DECISIONS], "verbs": ["get", "list", "watch"]}
    decide = {"apiGroups": [GROUP], "resources": [DECISIONS], "verbs": ["create", "delete"]}
    return {names.JOIN_ROLE: [ask], names.MEMBERSHIP_ROLE: [look, decide]}
