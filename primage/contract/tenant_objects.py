"""What a tenant has on a site before anybody logs in, as Kubernetes objects: computed from the settings alone, with no I/O.

A tenant is a VO's own namespace or a member's (primage.contract.tenant). Whoever makes these objects, or checks them, asks
here what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from primage.contract import names
from primage.contract.networks import NetworkConfig, inside
from primage.contract.quantities import parse_quantity
from primage.contract.tenant import Tenant
from primage.contract.vo import QuotaConfig

Object = dict[str, Any]
"""A Kubernetes object, as its API takes it."""

POD_SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
SCRATCH_DEFAULT = "2Gi"
"""Scratch space of a container that asks for none."""
OTHER_KINDS = (
    "replicationcontrollers",
    "serviceaccounts",
    "deployments.apps",
    "replicasets.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "horizontalpodautoscalers.autoscaling",
    "ingresses.networking.k8s.io",
    "networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy",
    "leases.coordination.k8s.io",
    "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
)
"""What role `edit` may make besides what QuotaConfig names."""
DNS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
}
"""The cluster's DNS servers, as kubeadm and most others label them."""


def namespace(tenant: Tenant) -> Object:
    """Its namespace: Pod Security `restricted`, the one user and group of its pods, and whose it is."""
    whose = {"primage.eu/user-name": tenant.user.name} if tenant.user else {}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": tenant.namespace,
            "labels": {
                **tenant.labels,
                **POD_SECURITY,
                names.LABEL_UID: str(tenant.uid),
                names.LABEL_GID: str(tenant.vo.gid),
            },
            "annotations": {names.ANNOTATION_SCRATCH: tenant.vo.scratch_max, "primage.eu/vo-name": tenant.vo.name, **whose},
        },
    }


def quota(tenant: Tenant) -> Object:
    """What its pods use together at most, and how many objects of every kind there may be."""
    return _inside(tenant, "v1", "ResourceQuota", "vo", spec={"hard": _hard(tenant.quota)})


def limits(tenant: Tenant) -> Object:
    """What one container gets unasked, and at most."""
    vo = tenant.vo
    default = {"cpu": vo.container_default.cpu, "memory": vo.container_default.memory}
    largest = {"cpu": vo.container_max.cpu, "memory": vo.container_max.memory} if vo.container_max else {}
    limit = {
        "type": "Container",
        "default": {**default, "ephemeral-storage": min(SCRATCH_DEFAULT, vo.scratch_max, key=parse_quantity)},
        "defaultRequest": {**default, "ephemeral-storage": "100Mi"},
        "max": {**largest, "ephemeral-storage": vo.scratch_max},
    }
    return _inside(tenant, "v1", "LimitRange", "vo", spec={"limits": [limit]})


def config(tenant: Tenant, *, mount_point: str, oneprovider: str) -> Object:
    """Where its jobs find the volumes (the paper's figure 6).

    Args:
        oneprovider: host of the nearest Oneprovider; empty where there is none.
    """
    data = {names.CONFIG_MAP_PROVIDER_KEY: oneprovider, names.CONFIG_MAP_MOUNT_KEY: mount_point}
    return _inside(tenant, "v1", "ConfigMap", names.CONFIG_MAP, data=data)


def network_policies(tenant: Tenant, network: NetworkConfig) -> list[Object]:
    """What its pods may reach, and who may reach them: nothing, and then what is named here.

    Those of apps only open ways inside the namespace (infra/admission.py sees to that).
    """
    own: list[Object] = [{"podSelector": {}}]
    dns_ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    # Queues and the like are reached by those their own policy names, not by everybody in the namespace.
    open_ones = {"matchExpressions": [{"key": names.LABEL_PRIVATE, "operator": "DoesNotExist"}]}
    specs: dict[str, Object] = {
        "default-deny": {"policyTypes": ["Ingress", "Egress"]},
        "allow-dns": {"policyTypes": ["Egress"], "egress": [{"to": [DNS], "ports": dns_ports}]},
        "allow-own-namespace": {"policyTypes": ["Egress"], "egress": [{"to": own}]},
        "accept-own-namespace": {"podSelector": open_ones, "policyTypes": ["Ingress"], "ingress": [{"from": own}]},
    }
    if network.api_servers:
        specs["allow-api"] = _to_api(network)
    if tenant.vo.egress:
        blocks = [_outside(cidr, network.machines) for cidr in tenant.vo.egress]
        specs["allow-egress"] = {"policyTypes": ["Egress"], "egress": [{"to": blocks}]}
    kind = ("networking.k8s.io/v1", "NetworkPolicy")
    return [_inside(tenant, *kind, name, spec={"podSelector": {}, **spec}) for name, spec in specs.items()]


@dataclass(frozen=True)
class Share:
    """One claim of a tenant, and the folder that it is.

    Attributes:
        claim: its name.
        capacity: as users are told it.
        source: the part of a volume's specification that says where the folder is, under the key of its kind.
        writable: whether jobs may write.
    """

    claim: str
    capacity: str
    source: Mapping[str, Any]
    writable: bool

    @property
    def modes(self) -> list[str]:
        """How it is mounted, in Kubernetes' words."""
        return ["ReadWriteMany" if self.writable else "ReadOnlyMany"]


def folders(tenant: Tenant) -> dict[str, str]:
    """The folder of each of its claims, below the volume that it is cut from."""
    vo = tenant.vo.name
    return {
        names.CLAIM_DATALAKE: vo,
        names.CLAIM_HOME_PRIVATE: f"{vo}/private/{tenant.identity}",
        names.CLAIM_HOME_SHARED: f"{vo}/shared",
    }


def volume(tenant: Tenant, share: Share) -> Object:
    """The volume of one claim, made for it alone, so that no other namespace can claim its folder; it is retained."""
    spec = {
        "capacity": {"storage": share.capacity},
        "accessModes": share.modes,
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "claimRef": {"namespace": tenant.namespace, "name": share.claim},
        **share.source,
    }
    metadata = {"name": _volume_name(tenant, share), "labels": tenant.labels}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def claim(tenant: Tenant, share: Share) -> Object:
    """One claim, bound to its volume."""
    spec = {
        "accessModes": share.modes,
        "storageClassName": "",
        "volumeName": _volume_name(tenant, share),
        "resources": {"requests": {"storage": share.capacity}},
    }
    return _inside(tenant, "v1", "PersistentVolumeClaim", share.claim, spec=spec)


def _volume_name(tenant: Tenant, share: Share) -> str:
    return f"{tenant.namespace}.{share.claim}"


def _inside(tenant: Tenant, api_version: str, kind: str, name: str, **fields: Any) -> Object:
    metadata = {"name": name, "namespace": tenant.namespace, "labels": tenant.labels}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def _hard(amounts: QuotaConfig) -> dict[str, str]:
    return {
        "requests.cpu": amounts.cpu,
        "limits.cpu": amounts.cpu,
        "requests.memory": amounts.memory,
        "limits.memory": amounts.memory,
        "requests.nvidia.com/gpu": str(amounts.gpu),
        "requests.ephemeral-storage": amounts.ephemeral_storage,
        "limits.ephemeral-storage": amounts.ephemeral_storage,
        "pods": str(amounts.pods),
        "count/pods": str(amounts.pods_kept),
        "count/jobs.batch": str(amounts.jobs),
        "count/cronjobs.batch": str(amounts.cron_jobs),
        "count/configmaps": str(amounts.config_maps),
        "count/secrets": str(amounts.secrets),
        "count/services": str(amounts.services),
        "count/persistentvolumeclaims": str(amounts.claims),
        **{f"count/{kind}": str(amounts.objects) for kind in OTHER_KINDS},
        # The paper's templates opened node ports; routes go through the gateway instead.
        "services.nodeports": "0",
        "services.loadbalancers": "0",
    }


def _outside(cidr: str, machines: Sequence[str]) -> Object:
    """A network without the site's own machines in it."""
    among = [own for own in machines if inside(own, cidr)]
    return {"ipBlock": {"cidr": cidr, **({"except": among} if among else {})}}


def _to_api(network: NetworkConfig) -> Object:
    """For pods that hold a token. A policy sees the API server's own address, not that of its Service."""
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in network.api_servers]
    return {
        "podSelector": {"matchLabels": {names.LABEL_API_ACCESS: "true"}},
        "policyTypes": ["Egress"],
        "egress": [{"to": blocks, "ports": [{"protocol": "TCP", "port": network.api_port}]}],
    }
