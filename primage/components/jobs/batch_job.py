"""The paper's batch job (section 4.1.5, figure 6) as a component: its parameters and environment, without its privileges."""

from __future__ import annotations

from typing import Any

import pulumi

from primage.components.app import AppStack
from primage.components.jobs.batch_settings import BatchJobSettings
from primage.components.kubernetes_object import KubernetesObject
from primage.contract import names
from primage.contract.pod_security import container_security, pod_security

GPU = "nvidia.com/gpu"
MAX_JOB_NAME = 63
ASK_AGAIN = {"options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "5"}]}
"""A pod's `dnsConfig`: its network is closed until the site's policies have seen it, and a resolver's usual wait is 5 s."""
NODE_DRAINED = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
"""Rule of a job's podFailurePolicy: draining a node does not count as a failure of what ran there."""


class BatchJob(pulumi.ComponentResource):
    """One Job in the VO's namespace with DATALAKE (read-only) and HOME mounted under MOUNT_POINT."""

    job_name: pulumi.Output[str]
    """Name of the Job object."""

    def __init__(self, settings: BatchJobSettings, app: AppStack, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:app:BatchJob", settings.name, {}, pulumi.ResourceOptions.merge(app.options, opts))
        name = app.instance(settings.name)
        labels = {names.LABEL_APP: app.name.app, names.LABEL_INSTANCE: name[:MAX_JOB_NAME]}
        job = KubernetesObject(
            "batch/v1",
            "Job",
            f"{settings.name}-job",
            metadata={
                "name": name[:MAX_JOB_NAME],
                "namespace": app.namespace,
                "labels": labels,
                # Pulumi waits for the job's end; the job ends itself before the wait does.
                "annotations": {"pulumi.com/timeoutSeconds": str(settings.deadline_seconds + 60)},
            },
            spec={
                "backoffLimit": settings.backoff_limit,
                "activeDeadlineSeconds": settings.deadline_seconds,
                "ttlSecondsAfterFinished": settings.keep_seconds,
                "template": {"metadata": {"labels": labels}, "spec": pod_spec(settings, app)},
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.job_name = job.name
        self.register_outputs({"job_name": self.job_name})


def pod_spec(settings: BatchJobSettings, app: AppStack) -> dict[str, Any]:
    """A pod that Pod Security `restricted` accepts: no root, no capabilities, no writable root file system, no API token."""
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(app.uid, app.gid),
        "dnsConfig": ASK_AGAIN,
        "containers": [_container(settings, app)],
        "volumes": [
            {"name": "datalake", "persistentVolumeClaim": {"claimName": names.CLAIM_DATALAKE, "readOnly": True}},
            {"name": "home-private", "persistentVolumeClaim": {"claimName": names.CLAIM_HOME_PRIVATE}},
            {"name": "home-shared", "persistentVolumeClaim": {"claimName": names.CLAIM_HOME_SHARED}},
            {"name": "tmp", "emptyDir": {"sizeLimit": settings.scratch}},
        ],
    }
    if settings.node_selector:
        spec["nodeSelector"] = settings.node_selector
    if settings.priority:
        spec["priorityClassName"] = names.priority_class(settings.priority)
    if settings.gpu:
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    return spec


def _container(settings: BatchJobSettings, app: AppStack) -> dict[str, object]:
    resources = {"cpu": settings.cpu, "memory": settings.memory}
    limits = {**resources, **({GPU: str(settings.gpu)} if settings.gpu else {})}
    below = app.mount_point
    container: dict[str, object] = {
        "name": "job",
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(settings.args),
        "env": [*_platform_environment(app), *({"name": key, "value": value} for key, value in settings.env.items())],
        "resources": {"requests": resources, "limits": limits},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "datalake", "mountPath": pulumi.Output.concat(below, "/DATALAKE"), "readOnly": True},
            {"name": "home-private", "mountPath": pulumi.Output.concat(below, "/HOME/private")},
            {"name": "home-shared", "mountPath": pulumi.Output.concat(below, "/HOME/shared")},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # inside the container
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if settings.command:
        container["command"] = list(settings.command)
    return container


def _platform_environment(app: AppStack) -> list[dict[str, object]]:
    """The variables of the paper's template; the token is there only where a storage backend has issued one."""

    def from_config_map(key: str) -> dict[str, object]:
        return {"configMapKeyRef": {"name": names.CONFIG_MAP, "key": key}}

    token = {"secretKeyRef": {"name": names.STORAGE_SECRET, "key": names.STORAGE_SECRET_KEY, "optional": True}}
    return [
        {"name": "ONECLIENT_ACCESS_TOKEN", "valueFrom": token},
        {"name": "ONECLIENT_PROVIDER_HOST", "valueFrom": from_config_map(names.CONFIG_MAP_PROVIDER_KEY)},
        {"name": "MOUNT_POINT", "valueFrom": from_config_map(names.CONFIG_MAP_MOUNT_KEY)},
        {"name": "HOME", "value": pulumi.Output.concat(app.mount_point, "/HOME/private")},
    ]
