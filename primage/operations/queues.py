"""The queue of a high-throughput application, looked at and tended from outside: through its own server's pod."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from primage.clients.cluster import Cluster, Ref
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.waiting import why
from primage.projects.project import StackName
from primage.projects.validation import sentences

TOOL = "primage-queue"
STACK_MANAGER = "primage-scale"


class _Standing(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    pushed: int
    waiting: int
    running: int
    done: int
    dead: int
    closed: bool
    finished: bool
    rate: float
    eta_s: float | None
    consumers: int


class _Letter(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    argument: str
    error: str
    tail: str
    tries: int
    at: float


class StackQueue:
    """The queue of one stack.

    Raises:
        PrimageError: the stack is not up, or has no queue.
    """

    def __init__(self, stack: StackName) -> None:
        # From what the stack owns, not from its outputs: those come when the application has ended.
        owned = EmbeddedEngine().owned(stack)
        server, cluster = next(((e.ref, c) for e, c in owned if e.ref and e.ref.kind == "StatefulSet"), (None, None))
        if server is None or cluster is None:
            raise PrimageError(
                f"{stack} has no queue: it is not up, or is no high-throughput application",
                todo=f"run `primage up {stack}`, or name a stack of app htc",
                code=ExitCode.USAGE,
            )
        self._cluster: Cluster = cluster
        self._stack = stack
        self._server: Ref = server
        self._pod = Ref("v1", "Pod", f"{server.name}-0", server.namespace)
        self._consumers = Ref("batch/v1", "Job", f"{server.name.removesuffix('-queue')}-consumers", server.namespace)

    def standing(self) -> dict[str, Any]:
        """How it stands: pushed, waiting, running, done, dead, closed, finished, rate (1/s), eta_s, consumers."""
        found = self._said(_Standing, self._run("status", "--json"))
        job = self._cluster.get(self._consumers) or {}
        wanted, active = job.get("spec", {}).get("parallelism"), job.get("status", {}).get("active", 0)
        return {**found, "parallelism": wanted, "pods": active}

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
        job = self._cluster.get(self._consumers)
        if job is None:
            raise PrimageError(f"{self._consumers} is not there", todo=f"run `primage up {self._stack}`")
        ended = [c["type"] for c in job.get("status", {}).get("conditions") or [] if c["status"] == "True"]
        if {"Complete", "Failed"} & set(ended):
            raise PrimageError(
                f"{self._consumers} has ended ({', '.join(ended)})", todo=f"run `primage up {self._stack}` to start consumers again"
            )
        if self._cluster.get(replace(self._server, api_version="apps/v1", kind="Deployment", name=f"{self._server.name}-scaler")):
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
            todo=f"see what runs in that pod; `primage destroy {self._stack}` and `primage up {self._stack}` make it anew",
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
