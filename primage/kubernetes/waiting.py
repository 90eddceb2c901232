"""Waiting for objects as Pulumi does, with the reason for the wait in sight, and giving up only with one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from primage.clients.cluster import Cluster, Object, Ref
from primage.contract.names import LABEL_QUEUE, queue_server
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.readiness import (
    READY,
    WITH_PODS,
    State,
    Verdict,
    ends_with_its_pods,
    explain_amounts,
    explain_pods,
    health,
    pods_succeeded,
    unschedulable,
    verdict,
    waiting,
)

JOB_NAME = "batch.kubernetes.io/job-name"
"""Label of a Job's pods."""
WATCH_S = 2
"""How long one watch lasts before it is asked why the object is not ready."""
ABANDON_S = 8
"""How much longer is waited for what needs the time to end once something else of the stack has failed."""
KILLED = 137
"""Exit status after SIGKILL. The kernel ends the hungriest process, which in a shell's container need not be the first one."""
MOST_LINES = 20
MOST_SHOWN = 500
"""Characters of a line that a job wrote, in an error."""
UNREACHABLE_GRACE_S = 60
"""How long the API server may be away before waiting ends with an error."""


class _Patience:
    """Bears an API server that is away for a while: one that restarts takes half a minute."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._since: float | None = None

    def answered(self) -> None:
        """The server is there."""
        self._since = None

    def bear(self, error: PrimageError) -> None:
        """Wait a second, or raise what cannot be borne (any longer)."""
        now = time.monotonic()
        self._since = self._since or now
        if error.code is not ExitCode.UNREACHABLE or now - self._since > UNREACHABLE_GRACE_S:
            raise error
        self._report("the API server does not answer; trying again")
        time.sleep(1)


def wait_ready(
    cluster: Cluster, obj: Object, *, timeout_s: float, report: Callable[[str], None], failing: Callable[[], bool] = lambda: False
) -> Object:
    """Return the object once it is ready.

    Args:
        failing: tells whether something else of the stack has failed: then no long wait is begun or gone on with.

    Raises:
        PrimageError: it failed, it was deleted meanwhile, it can never be ready, or the time is over; the message has
            its last event.
    """
    ref = Ref.of(obj)
    with_pods = ends_with_its_pods(obj)
    latest = verdict(obj)
    if latest.state is State.READY:
        return obj
    deadline = time.monotonic() + timeout_s
    patience = _Patience(report)
    abandoned = False
    while time.monotonic() < deadline:
        if failing() and not abandoned:
            abandoned, deadline = True, min(deadline, time.monotonic() + ABANDON_S)
        try:
            ready, latest = _look(cluster, ref, report, with_pods=with_pods)
            if ready is not None:
                return ready
            patience.answered()
        except PrimageError as error:
            patience.bear(error)
    if abandoned:
        raise PrimageError(f"{ref} was not waited for any longer because another resource failed: {latest.detail}")
    raise PrimageError(
        f"{ref} is not ready after {timeout_s:.0f} s: {latest.detail or 'no reason given'}{last_event(cluster, ref)}",
        todo=f"see `primage why` for it; give it longer with the annotation pulumi.com/timeoutSeconds if {timeout_s:.0f} s "
        "is too short",
    )


def _look(cluster: Cluster, ref: Ref, report: Callable[[str], None], *, with_pods: bool) -> tuple[Object | None, Verdict]:
    """Watch for a moment, then ask pods and events: the object when it is ready, else why it is not."""
    latest = Verdict(State.WAITING)
    for current in _with_pods(cluster, ref) if with_pods else cluster.watch(ref, timeout_s=WATCH_S):
        if current is None:
            raise PrimageError(f"{ref} was deleted by somebody else while it was waited for", todo="run the same command again")
        if isinstance(current, _Done):
            return current.job, READY
        latest = verdict(current)
        if latest.state is State.READY:
            return current, latest
        if latest.state is State.FAILED:
            raise failure(cluster, ref, latest)
        report(latest.detail)
    known = why(cluster, ref)
    if known and known.state is State.FAILED:
        raise failure(cluster, ref, known)
    if known:
        report(known.detail)
    return None, known or latest


@dataclass(frozen=True)
class _Done:
    """A Job whose pods have succeeded, before it says so itself."""

    job: Object


def _with_pods(cluster: Cluster, ref: Ref) -> Iterator[Object | _Done | None]:
    """A Job, for a moment: as its pods tell while any is at work, and else whenever it changes itself."""
    labels = f"{JOB_NAME}={ref.name}"
    pods: Sequence[Object] = ()
    for pods in cluster.watch_all("v1", "Pod", ref.namespace, labels=labels, timeout_s=WATCH_S):
        if not any(at_work(pod) for pod in pods):
            break
    else:
        yield cluster.get(ref)
        return
    current = cluster.get(ref)
    if current and pods_succeeded(current, pods):
        yield _Done(current)
        return
    for current in cluster.watch(ref, timeout_s=WATCH_S):
        yield current
        if not pods and current and current.get("status", {}).get("active"):
            return  # there are some now


def at_work(pod: Object) -> bool:
    """Whether a container of it may still be started, or end."""
    status = pod.get("status", {})
    states = [container.get("state", {}) for container in status.get("containerStatuses") or []]
    ended = bool(states) and all("terminated" in state for state in states)
    return not ended and status.get("phase") not in {"Succeeded", "Failed"}


def state_now(cluster: Cluster, obj: Object) -> Verdict:
    """The state an object is in; of a Job whose pods have succeeded, what it will be when Kubernetes has noted that."""
    found = health(obj)
    if found.state is not State.WAITING or not ends_with_its_pods(obj):
        return found
    return READY if pods_succeeded(obj, pods_of(cluster, Ref.of(obj))) else found


def wait_gone(cluster: Cluster, ref: Ref, *, timeout_s: float, report: Callable[[str], None]) -> None:
    """Return once the object is no longer there."""
    deadline = time.monotonic() + timeout_s
    patience = _Patience(report)
    while time.monotonic() < deadline:
        try:
            if cluster.get(ref) is None:
                return
            for current in cluster.watch(ref, timeout_s=WATCH_S):
                if current is None:
                    return
                report("terminating")
            patience.answered()
        except PrimageError as error:
            patience.bear(error)
    raise PrimageError(
        f"{ref} is still there {timeout_s:.0f} s after it was deleted{last_event(cluster, ref)}",
        todo="see what its finalizers wait for (`kubectl get … -o yaml`), then run the same command again",
    )


_STUCK = {
    "FailedMount": "a volume cannot be mounted",
    "FailedAttachVolume": "a volume cannot be attached",
    "FailedCreatePodSandBox": "its node cannot give it a network",
}


def why(cluster: Cluster, ref: Ref) -> Verdict | None:
    """Why an object is not ready, from its pods and events; None when they tell nothing."""
    if ref.kind not in WITH_PODS:
        return None
    job = (cluster.get(ref) or {}) if ref.kind == "Job" else {}
    if job.get("spec", {}).get("managedBy"):
        told = events_of(cluster, ref)[-1:]  # no pod is made for it: its controller tells by events
        return Verdict(State.WAITING, str(told[0].get("message", ""))) if told else None
    pods = pods_of(cluster, ref)
    homeless = any(unschedulable(pod) is not None for pod in pods)
    nodes, system = (cluster.list("v1", "Node"), cluster.list("v1", "Pod", "kube-system")) if homeless else ([], [])
    explained = explain_pods(pods, nodes, system)
    if explained:
        return explained
    for pod in pods[-1:]:
        for event in reversed(events_of(cluster, Ref.of(pod))):
            if event.get("reason") in _STUCK:
                return Verdict(State.WAITING, f"{_STUCK[event['reason']]}: {event.get('message')}")
    for event in reversed(events_of(cluster, ref)):
        if event.get("reason") == "FailedCreate" and not pods:
            message = str(event.get("message", ""))
            if amounts := explain_amounts(message):
                return amounts
            return Verdict(State.FAILED, f"its pods are refused: {message}", "correct what the message names in the app's settings")
    return _without_queue(cluster, job)


def _without_queue(cluster: Cluster, job: Object) -> Verdict | None:
    """What keeps a job's queue from answering: the two start side by side. None without a queue, or where it is there."""
    labels = job.get("metadata", {}).get("labels") or {}
    if LABEL_QUEUE not in labels:
        return None
    server = cluster.get(Ref("apps/v1", "StatefulSet", queue_server(labels[LABEL_QUEUE]), job["metadata"]["namespace"]))
    if server is None or health(server).state is State.READY:
        return None
    told = why(cluster, Ref.of(server)) or waiting("it is starting")
    return Verdict(told.state, f"its queue does not answer yet: {told.detail}", told.todo)


def pods_of(cluster: Cluster, ref: Ref) -> list[Object]:
    """The pods an object stands for, newest last."""
    if ref.kind == "Pod":
        pod = cluster.get(ref)
        return [pod] if pod else []
    if ref.kind == "Job":
        labels = f"{JOB_NAME}={ref.name}"
    else:
        owner = cluster.get(ref) or {}
        selector = owner.get("spec", {}).get("selector", {}).get("matchLabels", {})
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
    pods = cluster.list("v1", "Pod", ref.namespace, labels=labels) if labels else []
    return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def events_of(cluster: Cluster, ref: Ref) -> list[Object]:
    """Events about an object, oldest first."""
    fields = f"involvedObject.kind={ref.kind},involvedObject.name={ref.name}"
    events = cluster.list("v1", "Event", ref.namespace, fields=fields)
    return sorted(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))


def last_event(cluster: Cluster, ref: Ref) -> str:
    """The last event about the object or its pods, as the tail of a sentence."""
    events = events_of(cluster, ref)
    for pod in pods_of(cluster, ref)[-1:] if ref.kind in WITH_PODS else []:
        events += events_of(cluster, Ref.of(pod))
    return f". Its last event: {events[-1].get('reason')}: {events[-1].get('message')}" if events else ""


@dataclass(frozen=True)
class LastWords:
    """How the newest pod of something ended; where some have failed, the newest of those.

    Attributes:
        ended: its exit status, as part of a sentence; empty where it is not over.
        lines: the last that it wrote, no more than 20, none longer than MOST_SHOWN.
    """

    ended: str = ""
    lines: tuple[str, ...] = ()


def last_words(cluster: Cluster, ref: Ref) -> LastWords:
    """What is known of the end of what an object stands for."""
    pods = pods_of(cluster, ref) if ref.kind in WITH_PODS else []
    failed = [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed"]
    for pod in (failed or pods)[-1:]:
        written = cluster.logs(ref.namespace, pod["metadata"]["name"]).strip().splitlines()[-MOST_LINES:]
        return LastWords(_ended(pod), tuple(line[:MOST_SHOWN] for line in written))
    return LastWords()


def failure(cluster: Cluster, ref: Ref, reason: Verdict) -> PrimageError:
    """The error for an object that failed, with the last lines its newest pod wrote."""
    words = last_words(cluster, ref)
    lines = "".join(f"\n  {line}" for line in words.lines)
    told = [reason.detail, *([words.ended] if words.ended else []), *([f"its last lines:{lines}\n"] if lines else [])]
    said = "; ".join(told)
    return PrimageError(f"{ref} failed: {said}{'' if len(told) > 1 else last_event(cluster, ref)}", todo=reason.todo)


def _ended(pod: Object) -> str:
    for container in pod.get("status", {}).get("containerStatuses") or []:
        terminated = container.get("state", {}).get("terminated") or {}
        if terminated:
            killed = " (killed; its memory may not have been enough)" if terminated.get("exitCode") == KILLED else ""
            cause = " (out of memory)" if terminated.get("reason") == "OOMKilled" else killed
            return f"container {container['name']} ended with status {terminated.get('exitCode')}{cause}"
    return ""
