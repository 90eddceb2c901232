"""A tenant's way to HPC: its backends, and the rights that the connector of its VO has in its namespace."""

from __future__ import annotations

from primage.contract import names
from primage.contract.hpc import backend_object
from primage.contract.hpc_centres import HpcBackendConfig
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import RBAC, Object, inside


def backend(tenant: Tenant, centre: HpcBackendConfig) -> Object:
    """Config map `backend-<name>` (the paper's figure 7), for people to read: no program believes it.

    Whoever may edit it must not say where credentials go, so the connector has the site's settings in its environment.
    Credentials are in a Secret of the same name, which `primage hpc login` writes: no program sees them but the connector.
    """
    return inside(tenant, "v1", "ConfigMap", backend_object(centre.name), data=centre.data(tenant.vo.name))


def bindings(tenant: Tenant) -> list[Object]:
    """The connector's rights: over this tenant's jobs and, in the VO's own namespace, to see who its members are."""
    made = [_binding(tenant, names.HPC_CONNECTOR, names.CONNECTOR_ROLE)]
    return made if tenant.member else [*made, _binding(tenant, f"{names.HPC_CONNECTOR}-members", names.MEMBERS_ROLE)]


def _binding(tenant: Tenant, name: str, role: str) -> Object:
    account = names.hpc_connector(names.namespace_for(tenant.vo.name))
    return inside(
        tenant,
        f"{RBAC}/v1",
        "RoleBinding",
        name,
        roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": names.SYSTEM_NAMESPACE}],
    )
