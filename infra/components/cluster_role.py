"""Rights in all namespaces: ClusterRoles, and who has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from primage.components.kubernetes_object import KubernetesObject
from primage.contract import names
from primage.contract.tenant_objects.objects import RBAC

API_VERSION = f"{RBAC}/v1"


def cluster_role(
    resource_name: str,
    name: str,
    rules: Sequence[dict[str, Any]],
    opts: pulumi.ResourceOptions,
    labels: dict[str, str] | None = None,
) -> KubernetesObject:
    """Declare a ClusterRole.

    Args:
        resource_name: what Pulumi calls it.
        labels: such as the role that it becomes part of.
    """
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return KubernetesObject(API_VERSION, "ClusterRole", resource_name, metadata=metadata, rules=list(rules), opts=opts)


def cluster_role_binding(resource_name: str, role: str, account: str, opts: pulumi.ResourceOptions) -> KubernetesObject:
    """Declare, under the role's own name, that a service account of the system's has it.

    Args:
        resource_name: what Pulumi calls it.
    """
    return KubernetesObject(
        API_VERSION,
        "ClusterRoleBinding",
        resource_name,
        metadata={"name": role},
        roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": names.SYSTEM_NAMESPACE}],
        opts=opts,
    )
