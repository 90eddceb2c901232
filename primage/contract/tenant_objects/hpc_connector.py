"""A tenant's way to HPC: its backends, and the connector that carries jobs there with no rights but over this tenant's jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from primage.contract import names
from primage.contract.hpc import backend_object, describe
from primage.contract.hpc_centres import HpcBackendConfig
from primage.contract.pod_security import container_security, pod_security
from primage.contract.probes import ALIVE, probes
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import RBAC, Object, inside

NAME = names.HPC_CONNECTOR
HOME = "/home-private"
START_S = 180
"""Until it is started anew when it has not come to its loops."""


def backend(tenant: Tenant, centre: HpcBackendConfig) -> Object:
    """Config map `backend-<name>` (the paper's figure 7), for people to read: no program believes it.

    Whoever may edit it must not say where credentials go, so the connector has the site's settings in its environment.
    Credentials are in a Secret of the same name, which `primage hpc login` writes: no program sees them.
    """
    return _own(tenant, "v1", "ConfigMap", backend_object(centre.name), data=centre.data(tenant.vo.name))


def account(tenant: Tenant) -> Object:
    """Whom the connector acts as."""
    return _own(tenant, "v1", "ServiceAccount", NAME, automountServiceAccountToken=False)


def binding(tenant: Tenant) -> Object:
    """Gives the connector its rights, in this namespace alone: ClusterRole `names.CONNECTOR_ROLE`, which the site has once."""
    return _own(
        tenant,
        f"{RBAC}/v1",
        "RoleBinding",
        NAME,
        roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": names.CONNECTOR_ROLE},
        subjects=[{"kind": "ServiceAccount", "name": NAME, "namespace": tenant.namespace}],
    )


def network_policy(tenant: Tenant, centres: Sequence[HpcBackendConfig]) -> Object:
    """The ways to the centres, and none to the connector."""
    spec = {
        "podSelector": {"matchLabels": _labels(tenant)},
        "policyTypes": ["Ingress", "Egress"],
        "egress": [_egress(centre) for centre in centres],
    }
    return _own(tenant, "networking.k8s.io/v1", "NetworkPolicy", NAME, spec=spec)


def deployment(tenant: Tenant, centres: Sequence[HpcBackendConfig], image: str) -> Object:
    """The connector itself."""
    labels = _labels(tenant)
    spec = {
        "replicas": 1,
        # Two at a time would do no harm, but tell everything twice.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": {**labels, names.LABEL_API_ACCESS: "true"}},
            "spec": _pod(tenant, _container(tenant, centres, image)),
        },
    }
    return _own(tenant, "apps/v1", "Deployment", NAME, spec=spec)


def _labels(tenant: Tenant) -> dict[str, str]:
    return {**tenant.labels, names.LABEL_APP: NAME, names.LABEL_PRIVATE: "true"}


def _own(tenant: Tenant, api_version: str, kind: str, name: str, **fields: Any) -> Object:
    obj = inside(tenant, api_version, kind, name, **fields)
    obj["metadata"]["labels"] = _labels(tenant)
    return obj


def _container(tenant: Tenant, centres: Sequence[HpcBackendConfig], image: str) -> Object:
    environment = {
        "PRIMAGE_BACKENDS": describe([centre.for_connector(tenant.vo.name) for centre in centres]),
        "PRIMAGE_HOME": HOME,
        "PRIMAGE_ALIVE": ALIVE,
    }
    return {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {"name": "PRIMAGE_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            *({"name": key, "value": value} for key, value in environment.items()),
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "150Mi"}, "limits": {"cpu": "500m", "memory": "150Mi"}},
        **probes(START_S),
        "securityContext": container_security(),
        "volumeMounts": [{"name": "home", "mountPath": HOME}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def _pod(tenant: Tenant, container: Object) -> Object:
    return {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": pod_security(tenant.uid, tenant.vo.gid),
        "containers": [container],
        "volumes": [
            {"name": "home", "persistentVolumeClaim": {"claimName": names.CLAIM_HOME_PRIVATE}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
        ],
    }


def _egress(centre: HpcBackendConfig) -> Object:
    """The way to one centre: its login node and its REST daemon, and nothing else there."""
    return {
        "to": [{"ipBlock": {"cidr": network}} for network in centre.reached],
        "ports": [{"protocol": "TCP", "port": port} for port in sorted(centre.ports)],
    }
