"""Consumers by the queue's length: a small deployment that may change the parallelism of one Job, and nothing else."""

from __future__ import annotations

from typing import Any

import pulumi

from primage.components.app import AppStack
from primage.components.jobs.batch_job import ASK_AGAIN
from primage.components.kubernetes_object import KubernetesObject
from primage.components.queues.htc_settings import QUEUE_IMAGE, ScalingSettings
from primage.components.queues.queue import TOOL, Queue
from primage.contract import names
from primage.contract.pod_security import container_security, pod_security


class QueueScaler(pulumi.ComponentResource):
    """Looks at a queue every two seconds and sets `job`'s parallelism."""

    def __init__(
        self, queue: Queue, job: str, scaling: ScalingSettings, app: AppStack, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        self._name = f"{queue.name}-scaler"
        super().__init__("primage:app:QueueScaler", self._name, {}, opts)
        self._app = app
        self._labels = {**queue.labels, names.LABEL_COMPONENT: "scaler"}
        inside = pulumi.ResourceOptions(parent=self)
        bound = self._rights(job, inside)
        KubernetesObject(
            "apps/v1",
            "Deployment",
            f"{self._name}-deployment",
            metadata=self._metadata(),
            spec={
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": self._labels},
                "template": {
                    "metadata": {"labels": {**self._labels, names.LABEL_API_ACCESS: "true"}},
                    "spec": queue.attach(self._pod(job, scaling)),
                },
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[queue.pod_exists, *bound]),
        )
        self.register_outputs({})

    def _metadata(self) -> dict[str, object]:
        return {"name": self._name, "namespace": self._app.namespace, "labels": self._labels}

    def _rights(self, job: str, opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        account = KubernetesObject(
            "v1",
            "ServiceAccount",
            f"{self._name}-account",
            metadata=self._metadata(),
            automountServiceAccountToken=False,
            opts=opts,
        )
        rules = [{"apiGroups": ["batch"], "resources": ["jobs"], "resourceNames": [job], "verbs": ["get", "patch"]}]
        role = KubernetesObject(
            "rbac.authorization.k8s.io/v1", "Role", f"{self._name}-role", metadata=self._metadata(), rules=rules, opts=opts
        )
        binding = KubernetesObject(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            f"{self._name}-binding",
            metadata=self._metadata(),
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": self._name},
            subjects=[{"kind": "ServiceAccount", "name": self._name, "namespace": self._app.namespace}],
            opts=opts,
        )
        return [account, role, binding]

    def _pod(self, job: str, scaling: ScalingSettings) -> dict[str, Any]:
        bounds = {
            "--least": scaling.minimum,
            "--most": scaling.maximum,
            "--each": scaling.arguments_per_consumer,
            "--calm": scaling.calm_seconds,
        }
        amounts = {"cpu": "50m", "memory": "64Mi"}
        container: dict[str, Any] = {
            "name": "scaler",
            "image": QUEUE_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": [TOOL, "scale", "--job", job, *(text for key, value in bounds.items() for text in (key, f"{value:g}"))],
            "env": [],
            "resources": {"requests": amounts, "limits": amounts},
            "securityContext": container_security(),
            "volumeMounts": [],
        }
        return {
            "serviceAccountName": self._name,
            "automountServiceAccountToken": True,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 10,
            "securityContext": pod_security(self._app.uid, self._app.gid),
            "dnsConfig": ASK_AGAIN,
            "containers": [container],
            "volumes": [],
        }
