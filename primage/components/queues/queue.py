"""A queue of arguments: Redis with a password, TLS inside the cluster and an append-only file on the user's HOME."""

from __future__ import annotations

from typing import Any

import pulumi

from primage.components.app import AppStack
from primage.components.kubernetes_object import KubernetesObject
from primage.components.queues.htc_settings import QUEUE_IMAGE
from primage.components.queues.queue_credentials import QueueCredentials
from primage.contract import names
from primage.contract.pod_security import container_security, pod_security
from primage.contract.quantities import parse_quantity

PORT = 6379
START_S = 600
"""How long Redis may take to listen, and its users wait for it at first: for a machine, an image, its file being read back."""
TOOL_FOLDER = "/opt/primage-queue"
TOOL = f"{TOOL_FOLDER}/bin/primage-queue"
CREDENTIALS = "/var/run/secrets/primage-queue"
MEMORY_SHARE = 0.7
"""Of the container's memory for arguments; the rest is for rewriting the append-only file."""
SERVER = """
set -eu
umask 077
for old in /data/*; do [ "$old" = "/data/$GENERATION" ] || rm -rf "$old"; done
mkdir -p "/data/$GENERATION"
exec redis-server --dir "/data/$GENERATION" --port 0 --tls-port 6379 --tls-auth-clients no \
  --tls-ca-cert-file "$SECRETS/ca.crt" --tls-cert-file "$SECRETS/tls.crt" --tls-key-file "$SECRETS/tls.key" \
  --aclfile "$SECRETS/users.acl" --appendonly yes --appendfsync always --save '' \
  --maxmemory "$MEMORY" --maxmemory-policy noeviction --proto-max-bulk-len 2mb
"""


class Queue(pulumi.ComponentResource):
    """One application's queue in the VO's namespace.

    Args:
        priority: one of the site's priority classes, as its jobs have it: they start beside it, and must not take its room.

    Attributes:
        name: of its server, service and Secret.
        pod_exists: what a job that uses the queue depends on: then the pod has its share of the namespace's quota. The jobs start
            beside it, and wait until it answers.
    """

    name: str
    pod_exists: pulumi.Resource

    def __init__(
        self, name: str, memory: str, app: AppStack, priority: str = "", opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("primage:app:Queue", name, {}, pulumi.ResourceOptions.merge(app.options, opts))
        self.name = names.queue_server(name)
        self._app, self._priority = app, priority
        self.labels = {names.LABEL_APP: app.name.app, names.LABEL_INSTANCE: name, names.LABEL_QUEUE: name}
        self._own = {**self.labels, names.LABEL_PRIVATE: "true"}
        self.host = pulumi.Output.concat(self.name, ".", app.namespace, ".svc")
        credentials = QueueCredentials(
            f"{self.name}-credentials",
            kubeconfig=app.kubeconfig,
            context=app.context,
            namespace=app.namespace,
            secret=self.name,
            hosts=[self.host, self.name, "localhost"],
            labels=app.labelled(self.labels),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._policy()
        service = KubernetesObject(
            "v1",
            "Service",
            f"{self.name}-service",
            metadata=self._metadata(),
            # Found by its name as soon as it has an address: who uses it waits until it answers.
            spec={
                "selector": self._own,
                "ports": [{"name": "redis", "port": PORT}],
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.pod_exists = KubernetesObject(
            "apps/v1",
            "StatefulSet",
            f"{self.name}-server",
            metadata={**self._metadata(), "annotations": {"pulumi.com/waitFor": "jsonpath={.status.updatedReplicas}=1"}},
            spec={
                "serviceName": self.name,
                "replicas": 1,
                "selector": {"matchLabels": self._own},
                "template": {"metadata": {"labels": self._own}, "spec": self._pod(memory, credentials.generation)},
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[credentials, service]),
        )
        self.register_outputs({})

    def _metadata(self) -> dict[str, object]:
        return {"name": self.name, "namespace": self._app.namespace, "labels": self.labels}

    def _policy(self) -> None:
        """Only jobs of this application reach it; a policy of the VO leaves private pods out of what it opens."""
        KubernetesObject(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            f"{self.name}-policy",
            metadata=self._metadata(),
            spec={
                "podSelector": {"matchLabels": self._own},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {"from": [{"podSelector": {"matchLabels": self.labels}}], "ports": [{"protocol": "TCP", "port": PORT}]}
                ],
            },
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _pod(self, memory: str, generation: pulumi.Output[str]) -> dict[str, object]:
        environment = {
            "GENERATION": generation,
            "SECRETS": CREDENTIALS,
            "MEMORY": str(int(float(parse_quantity(memory)) * MEMORY_SHARE)),
            **self._environment("localhost"),
        }
        container = {
            "name": "redis",
            "image": QUEUE_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "-c", SERVER],
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "ports": [{"name": "redis", "containerPort": PORT}],
            # Only until it listens: a command in the container costs tens of milliseconds of processor time, and a connection
            # that says nothing is a line in Redis' log.
            "startupProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1, "failureThreshold": START_S},
            "resources": {"requests": {"cpu": "100m", "memory": memory}, "limits": {"cpu": "1", "memory": memory}},
            "securityContext": container_security(),
            "volumeMounts": [
                {"name": "data", "mountPath": "/data", "subPath": f".primage/queues/{self.name}"},
                {"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True},
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # inside the container
            ],
        }
        return {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 10,
            "securityContext": pod_security(self._app.uid, self._app.gid),
            **({"priorityClassName": names.priority_class(self._priority)} if self._priority else {}),
            "containers": [container],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": names.CLAIM_HOME_PRIVATE}},
                {"name": "credentials", "secret": {"secretName": self.name, "defaultMode": 0o440}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
            ],
        }

    def _environment(self, host: pulumi.Input[str]) -> dict[str, Any]:
        return {
            "PRIMAGE_QUEUE": pulumi.Output.concat("rediss://", host, f":{PORT}"),
            "PRIMAGE_QUEUE_CREDENTIALS": CREDENTIALS,
        }

    def attach(self, pod: dict[str, Any], *, round_: str = "", bring_tool: bool = False) -> dict[str, Any]:
        """The pod with what its first container needs to use the queue.

        Args:
            round_: of a producer and its consumers: what no earlier ones had, so that the end of those is not taken for theirs.
            bring_tool: also put primage-queue into it, for images that do not have it.
        """
        container = pod["containers"][0]
        environment = {**self._environment(self.host), "PRIMAGE_QUEUE_START_S": str(START_S)}
        if round_:
            environment["PRIMAGE_QUEUE_ROUND"] = round_
        container["env"] += [{"name": key, "value": value} for key, value in environment.items()]
        container["volumeMounts"].append({"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True})
        items = [{"key": "password", "path": "password"}, {"key": "ca.crt", "path": "ca.crt"}]
        secret = {"secretName": self.name, "defaultMode": 0o440, "items": items}
        pod["volumes"].append({"name": "credentials", "secret": secret})
        if bring_tool:
            container["volumeMounts"].append({"name": "tool", "mountPath": TOOL_FOLDER, "readOnly": True})
            pod["volumes"].append({"name": "tool", "emptyDir": {"sizeLimit": "64Mi"}})
            bring = {"name": "tool", "mountPath": "/tool"}
            pod["initContainers"] = [
                {
                    "name": "bring-queue",
                    "image": QUEUE_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["cp", "-r", f"{TOOL_FOLDER}/.", "/tool/"],
                    "resources": container["resources"],
                    "securityContext": container["securityContext"],
                    "volumeMounts": [bring],
                }
            ]
        return pod
