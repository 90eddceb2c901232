"""The paper's high-throughput application (section 4.1.5): a producer job, a queue, and consumers as one ordinary Job."""

from __future__ import annotations

import hashlib
from typing import Any

import pulumi

from primage.components.app import AppStack
from primage.components.jobs.batch_job import NODE_DRAINED, pod_spec
from primage.components.jobs.batch_settings import BatchJobSettings
from primage.components.kubernetes_object import KubernetesObject
from primage.components.queues.htc_settings import HtcSettings, ProducerSettings
from primage.components.queues.queue import TOOL, Queue
from primage.components.queues.queue_scaler import QueueScaler
from primage.contract import names

FINISHED_WITH_DEAD_LETTERS = 3
STOPPED = 5
"""Told to stop before the queue was finished, as on a node that is drained."""
NOTHING_THERE = 66
"""Of a producer whose pattern matches nothing: EX_NOINPUT of sysexits(3)."""
BUSY = "/tmp/primage-busy"  # noqa: S108  # inside the container
PUSH_FILES = f"""
set -euo pipefail
cd "$HOME"
set -- $FILES
[ -e "${{1-}}" ] || {{ echo "no file below HOME/private matches $FILES" >&2; exit {NOTHING_THERE}; }}
printf "$HOME/%s\\n" "$@" | {TOOL} push --close
"""
PUSH_LINES = f"""
set -euo pipefail
"$@" | {TOOL} push
{TOOL} close
"""
"""The queue is closed only when the command ended well: one that is tried again may still have something to push."""


class HtcApplication(pulumi.ComponentResource):
    """Everything of one application; destroying its stack releases all of it."""

    queue_name: str
    producer_name: pulumi.Output[str]
    consumers_name: pulumi.Output[str]

    def __init__(self, settings: HtcSettings, app: AppStack, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:app:HtcApplication", settings.name, {}, pulumi.ResourceOptions.merge(app.options, opts))
        self.queue_name = app.instance(settings.name)
        self._app, self._settings = app, settings
        inside = pulumi.ResourceOptions(parent=self)
        self._queue = Queue(self.queue_name, settings.queue_memory, app, settings.priority, inside)
        after = pulumi.ResourceOptions(parent=self, depends_on=[self._queue.pod_exists])
        round_ = _round(settings.producer)
        producer = self._queue.attach(pod_spec(_producer(settings), app), round_=round_)
        self.producer_name = self._job("producer", producer, after, _PRODUCER)
        consumer = self._queue.attach(pod_spec(_consumer(settings), app), round_=round_, bring_tool=settings.consumer.bring_queue)
        if settings.scaling:
            QueueScaler(self._queue, f"{self.queue_name}-consumers", settings.scaling, app, inside)
            # Who has nothing in hand is not ready: Kubernetes takes those first when there are too many.
            consumer["containers"][0]["readinessProbe"] = {"exec": {"command": ["test", "-e", BUSY]}, "periodSeconds": 2}
            after = pulumi.ResourceOptions.merge(after, pulumi.ResourceOptions(ignore_changes=["spec.parallelism"]))
        self.consumers_name = self._job("consumers", consumer, after, self._consumers())
        self.register_outputs({})

    def _consumers(self) -> dict[str, Any]:
        return {
            "parallelism": self._settings.parallelism,
            "backoffLimit": self._settings.consumer.restarts,
            "podFailurePolicy": {
                "rules": [
                    NODE_DRAINED,
                    _on_exit("Ignore", STOPPED),
                    # Another try would not help: the dead letters would still be there.
                    _on_exit("FailJob", FINISHED_WITH_DEAD_LETTERS),
                ]
            },
        }

    def _job(self, part: str, pod: dict[str, Any], opts: pulumi.ResourceOptions, spec: dict[str, Any]) -> pulumi.Output[str]:
        settings = self._settings
        annotations = {"pulumi.com/timeoutSeconds": str(settings.deadline_seconds + 60)}
        if part == "consumers":
            annotations["pulumi.com/patchForce"] = "true"  # `primage scale` changes parallelism beside the program
        job = KubernetesObject(
            "batch/v1",
            "Job",
            f"{settings.name}-{part}",
            metadata={
                "name": f"{self.queue_name}-{part}",
                "namespace": self._app.namespace,
                "labels": {**self._queue.labels, names.LABEL_COMPONENT: part},
                "annotations": annotations,
            },
            spec={
                "activeDeadlineSeconds": settings.deadline_seconds,
                "ttlSecondsAfterFinished": settings.keep_seconds,
                "template": {"metadata": {"labels": {**self._queue.labels, names.LABEL_COMPONENT: part}}, "spec": pod},
                **spec,
            },
            opts=opts,
        )
        return job.name


def _on_exit(action: str, status: int) -> dict[str, Any]:
    """What a consumer's exit status means for its Job."""
    return {"action": action, "onExitCodes": {"containerName": "job", "operator": "In", "values": [status]}}


_PRODUCER = {"backoffLimit": 2, "podFailurePolicy": {"rules": [NODE_DRAINED, _on_exit("FailJob", NOTHING_THERE)]}}


def _round(producer: ProducerSettings) -> str:
    """Another one for other settings of the producer: both jobs are then replaced, and do what was not done before."""
    return hashlib.blake2b(producer.model_dump_json().encode(), digest_size=8).hexdigest()


def _producer(settings: HtcSettings) -> BatchJobSettings:
    producer = settings.producer
    if producer.arguments:
        # Kubernetes would put variables in for $(NAME); an argument is taken as it is.
        command, arguments = [TOOL, "push", "--close", "--"], [text.replace("$", "$$") for text in producer.arguments]
    elif producer.files:
        command, arguments = ["/bin/bash", "-c", PUSH_FILES], []
    else:
        command, arguments = ["/bin/bash", "-c", PUSH_LINES, "producer"], list(producer.command)
    return BatchJobSettings(
        name=settings.name,
        image=producer.image,
        command=tuple(command),
        args=tuple(arguments),
        cpu=producer.cpu,
        memory=producer.memory,
        env={"FILES": producer.files} if producer.files else {},
        priority=settings.priority,
    )


def _consumer(settings: HtcSettings) -> BatchJobSettings:
    consumer = settings.consumer
    return BatchJobSettings(
        name=settings.name,
        image=consumer.image,
        command=(TOOL, "run"),
        args=tuple(_run(settings)),
        env=consumer.env,
        cpu=consumer.cpu,
        memory=consumer.memory,
        gpu=consumer.gpu,
        scratch=consumer.scratch,
        node_selector=consumer.node_selector,
        priority=settings.priority,
    )


def _run(settings: HtcSettings) -> list[str]:
    """The arguments of `primage-queue run`; Kubernetes itself puts $(HOME) in."""
    consumer = settings.consumer
    options = ["--busy", BUSY] if settings.scaling else []
    options += ["-n", str(consumer.batch), "--tries", str(consumer.tries), "--visibility", f"{consumer.visibility_seconds:g}"]
    if consumer.timeout_seconds:
        options += ["--timeout", f"{consumer.timeout_seconds:g}"]
    if consumer.output:
        options += ["--output", f"$(HOME)/{consumer.output}"]
    return [*options, "--call", consumer.call] if consumer.call else [*options, "--", *consumer.command]
