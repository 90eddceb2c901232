"""How much a tenant may use, and how much one container of it."""

from __future__ import annotations

from primage.contract import gateway_api
from primage.contract.quantities import parse_quantity
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.objects import Object, inside
from primage.contract.vo import QuotaConfig

SCRATCH_DEFAULT = "2Gi"
"""Scratch space of a container that asks for none."""
LEAST = {"cpu": "1m", "memory": "4Mi", "ephemeral-storage": "1Mi"}
"""What a container asks for at least: Kubernetes takes 0 for no limit, and counts it as nothing of a quota."""
OTHER_KINDS = (
    "replicationcontrollers",
    "serviceaccounts",
    "deployments.apps",
    "replicasets.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "horizontalpodautoscalers.autoscaling",
    "ingresses.networking.k8s.io",
    *(kind.counted for kind in gateway_api.OF_MEMBERS),
    "networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy",
    "leases.coordination.k8s.io",
    "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
)
"""What role `edit` may make besides what QuotaConfig names."""


def quota(tenant: Tenant) -> Object:
    """What its pods use together at most, and how many objects of every kind there may be."""
    # Who has no role keeps what is theirs and starts nothing, nor does anything of theirs that starts pods.
    idle = {"pods": "0", "count/jobs.batch": "0"} if tenant.member and not tenant.member.roles else {}
    return inside(tenant, "v1", "ResourceQuota", "vo", spec={"hard": {**_hard(tenant.quota), **idle}})


def limits(tenant: Tenant) -> Object:
    """What one container gets unasked, at least and at most."""
    vo = tenant.vo
    default = {"cpu": vo.container_default.cpu, "memory": vo.container_default.memory}
    largest = {"cpu": vo.container_max.cpu, "memory": vo.container_max.memory} if vo.container_max else {}
    limit = {
        "default": {**default, "ephemeral-storage": min(SCRATCH_DEFAULT, vo.scratch_max, key=parse_quantity)},
        "defaultRequest": {**default, "ephemeral-storage": "100Mi"},
        "max": {**largest, "ephemeral-storage": vo.scratch_max},
    }
    # Kubernetes refuses a limit whose least is more than its default or its most.
    given = (limit["default"], limit["defaultRequest"], limit["max"])
    least = {
        name: min([amount, *(amounts[name] for amounts in given if name in amounts)], key=parse_quantity)
        for name, amount in LEAST.items()
    }
    return inside(tenant, "v1", "LimitRange", "vo", spec={"limits": [{**limit, "type": "Container", "min": least}]})


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
