"""An interactive session: a Job that serves pages until nobody uses them, to whoever has its token or has logged in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pulumi

from primage.components.app import AppStack
from primage.components.gateway import Gateway
from primage.components.jobs.batch_job import NODE_DRAINED, pod_spec
from primage.components.jobs.batch_settings import BatchJobSettings
from primage.components.kubernetes_object import KubernetesObject
from primage.components.sessions import login_memory
from primage.components.sessions.login_proxy import LoginProxy
from primage.components.sessions.session_settings import SessionSettings
from primage.components.sessions.session_token import SessionToken
from primage.contract import names
from primage.contract.addresses import base_path
from primage.contract.outputs import SiteOutputs
from primage.contract.roles import RIGHTS, Access

TOKEN_FOLDER = "/var/run/secrets/primage-session"  # noqa: S105  # a folder
BASE_PATH, HOST, TOKEN_FILE = "PRIMAGE_BASE_PATH", "PRIMAGE_HOST", "PRIMAGE_TOKEN_FILE"  # names of variables
"""What a session's container is told: the path that all its pages are below, with a slash first and last (`/notebook/`); the host,
without a port, by which browsers reach it; and the file with the token that whoever opens it has to show, which is empty where a
login stands before it. Its server then lets everybody in, and still refuses pages of other origins to change anything."""
WRONG_SETTINGS = 78
"""What a session's container ends with where another try would end no other way: EX_CONFIG of sysexits.h."""
START_S = 180
"""Longest time from the container's start until its server answers."""


@dataclass(frozen=True)
class Serving:
    """How a session's container serves.

    Attributes:
        command, args, env: of the container.
        probe: command that succeeds once the server answers.
        port: of its server, on the pod's loopback.
        path: page shown first, below BASE_PATH; takes the token as `?token=`.
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
        address: what `primage open` needs: namespace, job, port, path and its Secret.
    """

    address: dict[str, Any]

    def __init__(
        self, settings: SessionSettings, serving: Serving, app: AppStack, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("primage:app:Session", settings.name, {}, pulumi.ResourceOptions.merge(app.options, opts))
        name = app.instance(settings.name)
        labels = {names.LABEL_APP: app.name.app, names.LABEL_INSTANCE: name, names.LABEL_PRIVATE: "true"}
        inside = pulumi.ResourceOptions(parent=self)
        told = pulumi.Output.all(app.site, app.namespace, app.identity)
        proxy = told.apply(lambda of: _login_proxy(settings, serving, app, *of))
        token = SessionToken(
            f"{name}-token",
            kubeconfig=app.kubeconfig,
            context=app.context,
            namespace=app.namespace,
            secret=name,
            hosts=proxy.apply(lambda found: [found.host] if found else []),
            labels=app.labelled(labels),
            opts=inside,
        )
        gateway = Gateway(name, labels, proxy, token.authority, app, inside)
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
                    names.ANNOTATION_OPENS: f":{serving.port}{base_path(name)}{serving.path}",
                },
            },
            spec={
                "backoffLimit": 2,
                "podFailurePolicy": {
                    "rules": [NODE_DRAINED, {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [WRONG_SETTINGS]}}]
                },
                "activeDeadlineSeconds": settings.longest_seconds,
                "ttlSecondsAfterFinished": settings.keep_seconds,
                "template": {
                    "metadata": {"labels": {**labels, names.LABEL_SESSION: "true"}},
                    "spec": _pod(settings, serving, name, app, gateway.proxy),
                },
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[token, gateway]),
        )
        self.address = {
            "namespace": app.namespace,
            "job": job.name,
            "secret": name,
            "port": serving.port,
            "path": f"{base_path(name)}{serving.path}",
        }
        self.register_outputs({})


def _login_proxy(
    settings: SessionSettings, serving: Serving, app: AppStack, site: SiteOutputs, namespace: str, identity: str
) -> LoginProxy | None:
    """The login before a session, where the site has a way to it and the session wants one."""
    if site.gateway is None or not settings.login:
        return None
    visitors = tuple(dict.fromkeys(name for name in (identity, *settings.share_with) if name))
    return LoginProxy(
        gateway=site.gateway,
        issuer=site.login,
        memory_image=site.images.resolve(login_memory.IMAGE),
        namespace=namespace,
        instance=app.instance(settings.name),
        port=serving.port,
        visitors=visitors,
        groups=() if visitors else _who_run(app.name.vo),
    )


def _who_run(vo: str) -> tuple[str, ...]:
    """The identity provider's groups of those who may run things in a VO's own namespace."""
    return tuple(f"/{vo}/{role}" for role, rights in RIGHTS.items() if rights.shared is Access.RUN)


def _pod(
    settings: SessionSettings, serving: Serving, name: str, app: AppStack, proxy: pulumi.Output[LoginProxy | None]
) -> dict[str, Any]:
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
    told = {
        BASE_PATH: base_path(name),
        HOST: proxy.apply(lambda found: found.gateway.host(found.namespace) if found else "localhost"),
        TOKEN_FILE: proxy.apply(lambda found: "" if found else f"{TOKEN_FOLDER}/token"),
    }
    container["env"] += [{"name": key, "value": value} for key, value in {**told, **serving.env}.items()]
    container["resources"]["requests"] = {**container["resources"]["requests"], "cpu": settings.reserved_cpu}
    container["volumeMounts"].append({"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True})
    pod["initContainers"] = proxy.apply(lambda found: found.containers() if found else [])
    probe = {"exec": {"command": list(serving.probe)}, "timeoutSeconds": 10}
    container["startupProbe"] = {**probe, "periodSeconds": 1, "failureThreshold": START_S}
    container["ports"] = [{"name": "loopback", "containerPort": serving.port}]
    # Not the keys of the login, where it has those.
    items = [{"key": "token", "path": "token"}]
    token = {"name": "token", "secret": {"secretName": name, "items": items, "optional": True, "defaultMode": 0o440}}
    volumes = [*pod["volumes"], token]
    pod["volumes"] = proxy.apply(lambda found: [*volumes, *(found.volumes(name) if found else [])])
    return pod
