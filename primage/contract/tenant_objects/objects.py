"""A Kubernetes object of a tenant."""

from __future__ import annotations

from typing import Any

from primage.contract.tenant import Tenant

Object = dict[str, Any]
"""A Kubernetes object, as its API takes it."""
RBAC = "rbac.authorization.k8s.io"
"""The API group of roles and their bindings."""


def inside(tenant: Tenant, api_version: str, kind: str, name: str, **fields: Any) -> Object:
    """One in its namespace, with its labels."""
    metadata = {"name": name, "namespace": tenant.namespace, "labels": tenant.labels}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}
