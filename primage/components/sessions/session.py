"""An interactive session: a Job that serves pages until nobody uses them, with a token of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pulumi

from primage.components.app import AppStack
from primage.components.gateway import Gateway
from primage.components.jobs.batch_job import NODE_DRAINED, pod_spec
from primage.components.jobs.batch_settings import BatchJobSettings
from primage.components.kubernetes_object import KubernetesObject
from primage.components.sessions.session_settings import SessionSettings
from primage.components.sessions.session_token import SessionToken
from primage.contract import names

TOKEN_FOLDER = "/var/run/secrets/primage-session"  # noqa: S105  # a folder
TOKEN_FILE = f"{TOKEN_FOLDER}/token"
START_S = 180
"""Longest time from the container's start until its server answers."""


@dataclass(frozen=True)
class Serving:
    """How a session's container serves.

    Attributes:
        command, args, env: of the container.
        probe: command that succeeds once the server answers.
        port: of its server, on the pod's loopback.
        path: page shown first; takes the token as `?token=`.
    """

    command: tuple[str, ...]
    probe: tuple[str, ...]
    port: int
    path: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


class Session(pulumi.ComponentResource):
    """One session of a VO. It is a Job because it ends: when idle, after its longest time, or by its user's hand.

    Attributes:
        address: what `primage open` needs: namespace, job, port, path and the token's Secret.
    """

    address: dict[str, Any]

    def __init__(
        self, settings: SessionSettings, serving: Serving, app: AppStack, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("primage:app:Session", settings.name, {}, pulumi.ResourceOptions.merge(app.options, opts))
        name = app.instance(settings.name)
        labels = {names.LABEL_APP: app.name.app, names.LABEL_INSTANCE: name, names.LABEL_PRIVATE: "true"}
        inside = pulumi.ResourceOptions(parent=self)
        token = SessionToken(
            f"{name}-token",
            kubeconfig=app.kubeconfig,
            context=app.context,
            namespace=app.namespace,
            secret=name,
            labels=app.labelled(labels),
            opts=inside,
        )
        gateway = Gateway(name, labels, serving.port, app, inside)
        job = KubernetesObject(
            "batch/v1",
            "Job",
            f"{settings.name}-job",
            metadata={
                "name": name,
                "namespace": app.namespace,
                "labels": labels,
                "annotations": {
                    # It is up once it answers. Without this annotation both engines would wait until the job ends.
                    "pulumi.com/waitFor": "jsonpath={.status.ready}=1",
                    "pulumi.com/timeoutSeconds": str(START_S),
                    names.ANNOTATION_OPENS: f":{gateway.port}{serving.path}",
                },
            },
            spec={
                "backoffLimit": 2,
                "podFailurePolicy": {"rules": [NODE_DRAINED]},
                "activeDeadlineSeconds": settings.longest_seconds,
                "ttlSecondsAfterFinished": settings.keep_seconds,
                "template": {"metadata": {"labels": labels}, "spec": _pod(settings, serving, name, app)},
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[token, gateway]),
        )
        self.address = {
            "namespace": app.namespace,
            "job": job.name,
            "secret": name,
            "port": gateway.port,
            "path": serving.path,
        }
        self.register_outputs({})


def _pod(settings: SessionSettings, serving: Serving, secret: str, app: AppStack) -> dict[str, Any]:
    job = BatchJobSettings(
        name=settings.name,
        image=settings.image,
        command=serving.command,
        args=serving.args,
        env=settings.env,
        cpu=settings.cpu,
        memory=settings.memory,
        gpu=settings.gpu,
        scratch=settings.scratch,
        node_selector=settings.node_selector,
        priority=settings.priority,
    )
    pod = pod_spec(job, app)
    (container,) = pod["containers"]
    container["env"] += [{"name": key, "value": value} for key, value in serving.env.items()]
    container["resources"]["requests"] = {**container["resources"]["requests"], "cpu": settings.reserved_cpu}
    container["volumeMounts"].append({"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True})
    probe = {"exec": {"command": list(serving.probe)}, "timeoutSeconds": 10}
    container["startupProbe"] = {**probe, "periodSeconds": 1, "failureThreshold": START_S}
    container["ports"] = [{"name": "loopback", "containerPort": serving.port}]
    pod["volumes"].append({"name": "token", "secret": {"secretName": secret, "defaultMode": 0o440}})
    return pod
