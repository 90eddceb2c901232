"""The paper's HPC job (section 4.1.5, figures 7 and 8) as a component: a real Job that no pod is made for."""

from __future__ import annotations

import json

import pulumi

from primage.components.app import AppStack
from primage.components.jobs.hpc_settings import HpcJobSettings
from primage.components.kubernetes_object import KubernetesObject
from primage.contract import names
from primage.contract.hpc import ANNOTATION_DIGEST, ANNOTATION_JOB, MANAGER, NO_IMAGE, digest_of
from primage.contract.pod_security import container_security

MAX_JOB_NAME = 63
GPU = "nvidia.com/gpu"


class HpcJob(pulumi.ComponentResource):
    """A Job that the HPC connector carries to Slurm, and the config map with its script."""

    job_name: pulumi.Output[str]
    """Name of the Job object."""

    def __init__(self, settings: HpcJobSettings, app: AppStack, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:app:HpcJob", settings.name, {}, pulumi.ResourceOptions.merge(app.options, opts))
        name = app.instance(settings.name)[:MAX_JOB_NAME]
        labels = {names.LABEL_APP: app.name.app, names.LABEL_INSTANCE: name}
        data = _figure_8(settings)
        # The script's digest is in the name, and the name in the pod template: another script is another job.
        digest = digest_of(data)
        script = KubernetesObject(
            "v1",
            "ConfigMap",
            f"{settings.name}-script",
            metadata={"name": f"{name[:50]}-{digest[:8]}", "namespace": app.namespace, "labels": labels},
            data=data,
            opts=pulumi.ResourceOptions(parent=self),
        )
        job = KubernetesObject(
            "batch/v1",
            "Job",
            f"{settings.name}-job",
            metadata={
                "name": name,
                "namespace": app.namespace,
                "labels": labels,
                "annotations": {"pulumi.com/timeoutSeconds": str(settings.deadline_seconds + 60)},
            },
            spec={
                "managedBy": MANAGER,
                "backoffLimit": settings.backoff_limit,
                "activeDeadlineSeconds": settings.deadline_seconds,
                "ttlSecondsAfterFinished": settings.keep_seconds,
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": {ANNOTATION_JOB: script.name, ANNOTATION_DIGEST: digest},
                    },
                    "spec": _template(settings),
                },
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[script]),
        )
        self.job_name = job.name
        self.register_outputs({"job_name": self.job_name})


def _figure_8(settings: HpcJobSettings) -> dict[str, str]:
    job = {"host": settings.host, "script": settings.script}
    more = {"inputs": list(settings.inputs), "outputs": list(settings.outputs), "partition": settings.partition}
    return {
        "monitoring_period": str(settings.monitoring_period),
        "job": json.dumps({**job, **{key: value for key, value in more.items() if value}}),
    }


def _template(settings: HpcJobSettings) -> dict[str, object]:
    """What Kubernetes would run if it ran it: nothing privileged here either."""
    amounts = {"cpu": settings.cpu, "memory": settings.memory, **({GPU: str(settings.gpu)} if settings.gpu else {})}
    container: dict[str, object] = {
        "name": "job",
        "image": settings.image or NO_IMAGE,
        "args": list(settings.args),
        "env": [{"name": key, "value": value} for key, value in settings.env.items()],
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": container_security(),
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
