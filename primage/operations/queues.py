"""The queue of a high-throughput application, looked at and tended from outside: through its own server's pod."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from primage.clients.cluster import Cluster, Object, Ref
from primage.contract.names import LABEL_QUEUE, queue_server
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.readiness import State
from primage.kubernetes.waiting import at_work, pods_of, state_now, why
from primage.operations.said import Said
from primage.operations.stack import StackHandle, stack_handle, the_one
from primage.projects.project import StackName
from primage.projects.validation import sentences

TOOL = "primage-queue"
STACK_MANAGER = "primage-scale"


Count = Annotated[int, Field(ge=0, le=10**15)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


class _Standing(Said):
    pushed: Count
    waiting: Count
    running: Count
    done: Count
    dead: Count
    closed: bool
    finished: bool
    rate: Amount
    eta_s: Amount | None
    consumers: Count


class _Letter(Said):
    argument: str
    error: str
    tail: str
    tries: Count
    at: Amount


class StackQueue:
    """The queue of one stack.

    Args:
        handle: of that stack, where there is one already.

    Raises:
        PrimageError: the stack is not up, or has no queue.
    """

    def __init__(self, stack: StackName, handle: StackHandle | None = None) -> None:
        handle = handle or stack_handle(stack)
        servers = (obj for obj in handle.of_kind("apps/v1", "StatefulSet") if _queue_of(obj))
        server = the_one(servers, stack, "queue")
        if server is None:
            raise PrimageError(
                f"{stack} has no queue: it is not up, or is not a high-throughput application",
                todo=f"run `primage up {stack}`, or name a stack of app htc",
                code=ExitCode.USAGE,
            )
        self._handle = handle
        self._cluster: Cluster = handle.cluster
        self._stack = stack
        self._server = Ref.of(server)
        self._pod = Ref("v1", "Pod", f"{self._server.name}-0", self._server.namespace)
        self._consumers = Ref("batch/v1", "Job", f"{_queue_of(server)}-consumers", self._server.namespace)
        self._producer = replace(self._consumers, name=f"{_queue_of(server)}-producer")

    def standing(self) -> dict[str, Any]:
        """How it stands: pushed, waiting, running, done, dead, closed, finished, rate (1/s), eta_s, consumers."""
        found = self._said(_Standing, self._run("status", "--json"))
        job = self._handle.get(self._consumers) or {}
        # Of its pods rather than of the Job, which notes their ends later.
        pods = sum(map(at_work, pods_of(self._cluster, self._consumers)))
        # Until this round's producer has ended, the queue is as the round before left it.
        producer = self._handle.get(self._producer)
        finished = found["finished"] and (producer is None or state_now(self._cluster, producer).state is not State.WAITING)
        return {**found, "finished": finished, "parallelism": job.get("spec", {}).get("parallelism"), "pods": pods}

    def letters(self) -> list[dict[str, Any]]:
        """Arguments that failed for good: argument, error, tail, tries, at."""
        return [self._said(_Letter, line) for line in self._run("dead", "--json").splitlines()]

    def retry(self) -> int:
        """Push the dead letters again; returns how many."""
        said = self._run("retry").strip()
        if not re.fullmatch(r"[0-9]{1,12}", said):
            raise self._nonsense("it is not a number")
        return int(said)

    def scale(self, parallelism: int) -> int:
        """Have another number of consumers; returns the former one."""
        job = self._handle.get(self._consumers)
        if job is None:
            raise PrimageError(f"{self._consumers} is not there", todo=f"run `primage up {self._stack}`")
        ended = [c["type"] for c in job.get("status", {}).get("conditions") or [] if c["status"] == "True"]
        if {"Complete", "Failed"} & set(ended):
            raise PrimageError(
                f"{self._consumers} has ended ({', '.join(ended)})", todo=f"run `primage up {self._stack}` to start consumers again"
            )
        if self._handle.get(replace(self._server, api_version="apps/v1", kind="Deployment", name=f"{self._server.name}-scaler")):
            raise PrimageError(
                f"{self._consumers} is scaled by the length of its queue",
                todo=f"change `scaling` in the file of {self._stack}, then run `primage up {self._stack}`",
                code=ExitCode.USAGE,
            )
        self._cluster.patch(self._consumers, {"spec": {"parallelism": parallelism}}, manager=STACK_MANAGER)
        return int(job["spec"]["parallelism"])

    def _said(self, model: type[BaseModel], text: str) -> dict[str, Any]:
        """What the queue's pod answered, which its namespace's users can make say anything."""
        try:
            return model.model_validate_json(text).model_dump()
        except ValidationError as error:
            raise self._nonsense(sentences(error, "answer")[0]) from error

    def _nonsense(self, why: str) -> PrimageError:
        return PrimageError(
            f"the queue of {self._stack} does not answer as one does: {why[:300]}",
            where=str(self._pod),
            todo=f"see what runs in that pod; `primage destroy {self._stack}` and `primage up {self._stack}` make a new one",
        )

    def _run(self, *arguments: str) -> str:
        pod = self._pod
        live = self._cluster.get(pod)
        if live is None or live["status"].get("phase") != "Running":
            reason = why(self._cluster, pod) if live else None
            raise PrimageError(
                f"the queue's server {pod} does not run" + (f": {reason.detail}" if reason else ""),
                todo=f"see `primage why {self._stack}`; what was pushed is kept",
                code=ExitCode.UNREACHABLE,
            )
        code, out, err = self._cluster.execute(pod, [TOOL, *arguments])
        if code:
            raise PrimageError(f"the queue of {self._stack} cannot be asked: {err.strip() or out.strip()}", where=str(pod))
        return out


def _queue_of(server: Object) -> str:
    """The queue that a stack's StatefulSet serves; empty where it does not serve one: a queue's is named after it."""
    name = str((server["metadata"].get("labels") or {}).get(LABEL_QUEUE, ""))
    return name if server["metadata"]["name"] == queue_server(name) else ""
