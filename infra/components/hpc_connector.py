"""A tenant's way to HPC: its backends, and the connector that carries jobs there with no rights but over this tenant's jobs."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from infra.config import HpcBackendConfig, HpcConfig
from primage.components.kubernetes_object import KubernetesObject
from primage.components.pods.security import container_security, pod_security
from primage.contract import names
from primage.contract.hpc import backend_object, describe
from primage.contract.tenant import Tenant

NAME = names.HPC_CONNECTOR
HOME = "/home-private"
ALIVE = "/tmp/alive"  # noqa: S108  # inside the container
START_S = 180
"""Until it is started anew when it has not come to its loops."""
SILENT_MINUTES = 2
"""The connector touches the file every ten seconds as long as its loops turn, whether there is anything to do or not."""


class HpcConnector(pulumi.ComponentResource):
    """Config maps `backend-<name>` (the paper's figure 7) and one connector in a namespace.

    The config maps are for people: whoever may edit them must not say where credentials go, so the connector has the site's
    settings in its environment.
    Credentials are in Secrets of the same names, which `primage hpc login` writes: no program sees them.
    """

    def __init__(
        self,
        name: str,
        hpc: HpcConfig,
        backends: Sequence[HpcBackendConfig],
        tenant: Tenant,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("primage:site:HpcConnector", name, {}, opts)
        self._namespace = tenant.namespace
        self._labels = {**tenant.labels, names.LABEL_APP: NAME, names.LABEL_PRIVATE: "true"}
        here = pulumi.ResourceOptions(parent=self)
        for backend in backends:
            KubernetesObject(
                "v1",
                "ConfigMap",
                f"{name}-backend-{backend.name}",
                metadata=self._metadata(backend_object(backend.name)),
                data=backend.data(tenant.vo.name),
                opts=here,
            )
        account = KubernetesObject(
            "v1",
            "ServiceAccount",
            f"{name}-account",
            metadata=self._metadata(NAME),
            automountServiceAccountToken=False,
            opts=here,
        )
        bound = self._rights(name, [backend.name for backend in backends], here)
        KubernetesObject(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            f"{name}-policy",
            metadata=self._metadata(NAME),
            spec={
                "podSelector": {"matchLabels": self._labels},
                "policyTypes": ["Ingress", "Egress"],
                "egress": [_egress(backend) for backend in backends],
            },
            opts=here,
        )
        KubernetesObject(
            "apps/v1",
            "Deployment",
            f"{name}-deployment",
            metadata=self._metadata(NAME),
            spec={
                "replicas": 1,
                # Two at a time would do no harm, but tell everything twice.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": self._labels},
                "template": {
                    "metadata": {"labels": {**self._labels, names.LABEL_API_ACCESS: "true"}},
                    "spec": self._pod(hpc, backends, tenant),
                },
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[account, *bound]),
        )
        self.register_outputs({})

    def _metadata(self, name: str) -> dict[str, object]:
        return {"name": name, "namespace": self._namespace, "labels": self._labels}

    def _rights(self, name: str, backends: list[str], opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        """Jobs and their status, scripts, these backends' credentials, and events; in this namespace alone."""
        rules = [
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch", "patch"]},
            {"apiGroups": ["batch"], "resources": ["jobs/status"], "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["configmaps", "namespaces"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": [backend_object(b) for b in backends]},
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
        ]
        role = KubernetesObject(
            "rbac.authorization.k8s.io/v1", "Role", f"{name}-role", metadata=self._metadata(NAME), rules=rules, opts=opts
        )
        binding = KubernetesObject(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            f"{name}-binding",
            metadata=self._metadata(NAME),
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
            subjects=[{"kind": "ServiceAccount", "name": NAME, "namespace": self._namespace}],
            opts=opts,
        )
        return [role, binding]

    def _pod(self, hpc: HpcConfig, backends: Sequence[HpcBackendConfig], tenant: Tenant) -> dict[str, object]:
        environment = {
            "PRIMAGE_BACKENDS": describe([backend.for_connector(tenant.vo.name) for backend in backends]),
            "PRIMAGE_HOME": HOME,
            "PRIMAGE_ALIVE": ALIVE,
        }
        container = {
            "name": NAME,
            "image": hpc.image,
            "imagePullPolicy": "IfNotPresent",
            "env": [
                {"name": "PRIMAGE_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                *({"name": key, "value": value} for key, value in environment.items()),
            ],
            "resources": {"requests": {"cpu": "20m", "memory": "150Mi"}, "limits": {"cpu": "500m", "memory": "150Mi"}},
            # A command in a container costs tens of milliseconds of processor time: often only until it has started.
            "startupProbe": {"exec": {"command": ["test", "-e", ALIVE]}, "periodSeconds": 1, "failureThreshold": START_S},
            "livenessProbe": {
                "exec": {"command": ["sh", "-c", f'test -n "$(find {ALIVE} -mmin -{SILENT_MINUTES})"']},
                "periodSeconds": 30,
                "timeoutSeconds": 10,
            },
            "securityContext": container_security(),
            "volumeMounts": [{"name": "home", "mountPath": HOME}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        }
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


def _egress(backend: HpcBackendConfig) -> dict[str, object]:
    """The way to one centre: its login node and its REST daemon, and nothing else there."""
    return {
        "to": [{"ipBlock": {"cidr": network}} for network in backend.reached],
        "ports": [{"protocol": "TCP", "port": port} for port in sorted(backend.ports)],
    }
