"""When an object is ready, and why it is not: Pulumi's rules, and the field's usual reasons in a person's words.

The rules are those of Pulumi's Kubernetes provider (its await logic); these functions only look at data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from primage.clients.cluster import Object, is_leaving
from primage.contract.custom_resources import Phase, phase_of
from primage.contract.images import ON_DEMAND, OWN
from primage.contract.names import LABEL_COMPONENT, LABEL_QUEUE, LABEL_STACK, stack_of_label
from primage.contract.quantities import InvalidQuantityError, parse_quantity
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.annotations import WAIT_FOR

_EQUALS = re.compile(r"jsonpath=\{\.([A-Za-z0-9_.]+)\}=(\S+)")


class State(Enum):
    """Ready, still on the way, or never going to be."""

    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """A state, and for a person why."""

    state: State
    detail: str = ""
    todo: str = ""


READY = Verdict(State.READY)


def waiting(detail: str) -> Verdict:
    """Not yet."""
    return Verdict(State.WAITING, detail)


def _condition(obj: Object, name: str) -> dict[str, Any]:
    for condition in obj.get("status", {}).get("conditions") or []:
        if condition.get("type") == name and condition.get("status") == "True":
            return dict(condition)
    return {}


def _observed(obj: Object) -> bool:
    wanted = obj.get("metadata", {}).get("generation", 0)
    return int(obj.get("status", {}).get("observedGeneration", 0)) >= int(wanted)


def _namespace(obj: Object) -> Verdict:
    phase = obj.get("status", {}).get("phase")
    return READY if phase == "Active" else waiting(f"phase {phase}")


def _claim(obj: Object) -> Verdict:
    phase = obj.get("status", {}).get("phase", "Pending")
    if phase == "Lost":
        return Verdict(State.FAILED, "its volume is gone", "see the volume it names; its data may still be on the storage")
    return READY if phase == "Bound" else waiting(f"claim is {phase}, waiting for a volume that fits it")


def _volume(obj: Object) -> Verdict:
    phase = obj.get("status", {}).get("phase", "Pending")
    if phase == "Failed":
        return Verdict(State.FAILED, obj.get("status", {}).get("message", "failed"), "fix what it names")
    return READY if phase in {"Available", "Bound", "Released"} else waiting(f"volume is {phase}")


def _deployment(obj: Object) -> Verdict:
    if not _observed(obj):
        return waiting("not seen by its controller yet")
    status = obj.get("status", {})
    wanted = obj.get("spec", {}).get("replicas", 1)
    stuck = [c for c in status.get("conditions") or [] if c.get("type") == "Progressing" and c.get("status") == "False"]
    if stuck:
        return Verdict(State.FAILED, stuck[0].get("message", "no progress"), "see `primage why` for its pods")
    if status.get("updatedReplicas", 0) >= wanted and status.get("availableReplicas", 0) >= wanted:
        return READY
    return waiting(f"{status.get('availableReplicas', 0)} of {wanted} available")


def _stateful_set(obj: Object) -> Verdict:
    status = obj.get("status", {})
    wanted = obj.get("spec", {}).get("replicas", 1)
    done = _observed(obj) and status.get("readyReplicas", 0) >= wanted and status.get("updatedReplicas", 0) >= wanted
    return READY if done else waiting(f"{status.get('readyReplicas', 0)} of {wanted} ready")


def _daemon_set(obj: Object) -> Verdict:
    status = obj.get("status", {})
    wanted = status.get("desiredNumberScheduled", 0)
    done = _observed(obj) and status.get("updatedNumberScheduled", 0) >= wanted and status.get("numberReady", 0) >= wanted
    return READY if done else waiting(f"{status.get('numberReady', 0)} of {wanted} ready")


def _pod(obj: Object) -> Verdict:
    if _condition(obj, "Ready") or obj.get("status", {}).get("phase") == "Succeeded":
        return READY
    if obj.get("status", {}).get("phase") == "Failed":
        return Verdict(State.FAILED, _end_of(obj), "run the same command again; if it ends so again, look at the pod's node")
    return waiting(str(obj.get("status", {}).get("phase", "Pending")))


def _end_of(pod: Object) -> str:
    """Why a pod has failed, in Kubernetes' own words."""
    for container in pod["status"].get("containerStatuses") or []:
        ended = container.get("state", {}).get("terminated") or {}
        if ended.get("exitCode"):
            told = ended.get("message") or f"it ended with status {ended['exitCode']}"
            return f"container {container.get('name')}: {ended.get('reason', 'Error')}: {told}"
    return str(pod["status"].get("message") or pod["status"].get("reason") or "it has failed")


def _job(obj: Object) -> Verdict:
    # The first is final as well, and noted before the other.
    if _condition(obj, "SuccessCriteriaMet") or _condition(obj, "Complete"):
        return READY
    failed = _condition(obj, "Failed")
    if failed:
        tries = obj.get("spec", {}).get("backoffLimit", 6) + 1
        words = {
            "BackoffLimitExceeded": f"failed {tries} time{'s' if tries > 1 else ''}, as often as it may",
            "DeadlineExceeded": f"ran longer than its deadline of {obj.get('spec', {}).get('activeDeadlineSeconds')} s",
            **({"PodFailurePolicy": "some of its arguments failed for good"} if _consumes(obj) else {}),
        }
        said = failed.get("message", "failed")
        detail = said if obj.get("spec", {}).get("managedBy") else words.get(failed.get("reason", ""), said)
        return Verdict(State.FAILED, detail, _after_failure(obj))
    if obj.get("spec", {}).get("suspend"):
        return waiting("suspended")
    status = obj.get("status", {})
    if status.get("active"):
        return waiting(f"{status.get('ready', 0)} of {status['active']} pods running")
    counted = status.get("uncountedTerminatedPods") or {}
    if status.get("succeeded") or counted.get("succeeded"):
        return waiting("its work is done; its end is being noted")
    if _condition(obj, "FailureTarget") or status.get("failed") or counted.get("failed") or status.get("terminating"):
        return waiting("its last pod has ended")
    return waiting("not taken up by its controller yet" if obj.get("spec", {}).get("managedBy") else "no pod yet")


def ends_with_its_pods(job: Object) -> bool:
    """Whether a Job is complete when its pods have succeeded, and nothing else of it is waited for."""
    spec, annotations = job.get("spec", {}), job.get("metadata", {}).get("annotations") or {}
    other = WAIT_FOR in annotations or any(spec.get(key) for key in ("managedBy", "suspend", "successPolicy"))
    return job.get("kind") == "Job" and spec.get("completions") in {None, 1} and not other


def pods_succeeded(job: Object, pods: Iterable[Object]) -> bool:
    """Whether a Job will be complete, from its pods' containers: the pod's own end and the Job's are each noted a second later.

    Only where all of its pods have succeeded and nothing tells of another end: a pod that is being deleted or driven out counts as
    failed whatever its containers say. Whoever may make pods in the namespace can pretend that a Job there is done.
    """
    if not ends_with_its_pods(job) or any(_condition(job, name) for name in ("FailureTarget", "Failed", "Suspended")):
        return False
    uid = job["metadata"].get("uid")
    ends = [_pod_succeeded(pod) for pod in pods if _owner(pod) == uid]
    return bool(ends) and all(ends)


def _pod_succeeded(pod: Object) -> bool:
    """Whether every container has ended well, none is started again, and nobody drives the pod out."""
    status = pod.get("status", {})
    states = [container.get("state", {}).get("terminated") or {} for container in status.get("containerStatuses") or []]
    done = len(states) == len(pod["spec"]["containers"]) and all(state.get("exitCode") == 0 for state in states)
    driven_out = is_leaving(pod) or status.get("phase") == "Failed" or _condition(pod, "DisruptionTarget")
    return done and pod["spec"].get("restartPolicy") == "Never" and not driven_out


def _owner(pod: Object) -> str:
    return next((str(owner["uid"]) for owner in pod["metadata"].get("ownerReferences") or [] if owner.get("controller")), "")


def _consumes(job: Object) -> bool:
    """Whether the job is the consumers of a queue, which keeps what failed."""
    labels = job.get("metadata", {}).get("labels") or {}
    return LABEL_QUEUE in labels and labels.get(LABEL_COMPONENT) == "consumers"


def _after_failure(job: Object) -> str:
    """What to do about a failed job."""
    if not _consumes(job):
        return "correct the cause, then run `primage up` again"
    stack = stack_of_label(str(job["metadata"]["labels"].get(LABEL_STACK, ""))) or "STACK"
    return (
        f"see which arguments failed with `primage queue dead {stack}`, correct the cause, then run "
        f"`primage queue retry {stack}` and `primage up {stack}`"
    )


def _definition(obj: Object) -> Verdict:
    if _condition(obj, "Established") and _condition(obj, "NamesAccepted"):
        return READY
    return waiting("not established yet")


def _tenant(obj: Object) -> Verdict:
    status = obj.get("status") or {}
    problem = str(status.get("problem") or "the authorizer has not said yet that all of it is there")
    phase = phase_of(obj)
    if phase is Phase.REFUSED:
        return Verdict(
            State.FAILED, problem, "put that right: it is tried again every few seconds; then run the same command again"
        )
    return READY if phase is Phase.READY else waiting(problem)


def _load_balancer(obj: Object) -> Verdict:
    if obj.get("spec", {}).get("type") == "LoadBalancer" and not obj.get("status", {}).get("loadBalancer", {}).get("ingress"):
        return waiting("no address yet")
    return READY


RULES: dict[str, Callable[[Object], Verdict]] = {
    "CustomResourceDefinition": _definition,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "Job": _job,
    "Member": _tenant,
    "Namespace": _namespace,
    "PersistentVolume": _volume,
    "PersistentVolumeClaim": _claim,
    "Pod": _pod,
    "Service": _load_balancer,
    "StatefulSet": _stateful_set,
    "VirtualOrganisation": _tenant,
}
"""Kinds that take time; an object of any other kind is ready once it is applied."""

WITH_PODS = frozenset({"DaemonSet", "Deployment", "Job", "Pod", "StatefulSet"})


def verdict(obj: Object) -> Verdict:
    """The object's own state; its annotation pulumi.com/waitFor, where it has one, says what ready means."""
    rule = RULES.get(obj.get("kind", ""))
    own = rule(obj) if rule else READY
    wanted = (obj.get("metadata", {}).get("annotations") or {}).get(WAIT_FOR)
    return _waited_for(obj, wanted, own) if wanted else own


def health(obj: Object) -> Verdict:
    """The state an object is in now, whatever `up` waited for.

    A program may wait for less than its kind's rule, such as a StatefulSet's pod to exist, and then for something else of its
    stack; of a Job that runs until somebody ends it, only the annotation tells that it is ready.
    """
    rule = RULES.get(obj.get("kind", ""))
    return rule(obj) if rule and obj.get("kind") != "Job" else verdict(obj)


def _waited_for(obj: Object, wanted: str, own: Verdict) -> Verdict:
    """Wait for `jsonpath={.field.field}=value`, a form of Pulumi's annotation; FAILED if the object has ended without it."""
    asked = _EQUALS.fullmatch(str(wanted))
    if asked is None:
        return own  # no program's: `require_known_wait` refuses it there; on a live object anybody may have written it
    path, value = asked.groups()
    found: Any = obj
    for field in path.split("."):
        found = found.get(field) if isinstance(found, dict) else None
    if str(found) == value and (obj.get("kind") != "StatefulSet" or _observed(obj)):
        return READY
    if own.state is State.FAILED:
        return own
    if obj.get("kind") == "Job" and own.state is State.READY:
        return Verdict(State.FAILED, "it has ended", "run `primage open` or `primage up` to start it again")
    return waiting(own.detail or f"{path} is {found}, not {value}")


def require_known_wait(obj: Object) -> None:
    """Refuse what only Pulumi's own provider can wait for.

    Raises:
        PrimageError: another form of pulumi.com/waitFor than `jsonpath={.field.field}=value`.
    """
    wanted = (obj.get("metadata", {}).get("annotations") or {}).get(WAIT_FOR)
    if wanted and not _EQUALS.fullmatch(wanted):
        raise PrimageError(
            f"{obj['kind']} {obj['metadata']['name']} has pulumi.com/waitFor: {wanted!r}, which this engine does not support",
            todo="write jsonpath={.field.field}=value, or use `--engine pulumi`",
            code=ExitCode.UNSUPPORTED,
        )


_QUOTA = re.compile(r"requested: (?P<requested>[^ ]+), used: (?P<used>[^ ]+), limited: (?P<limited>[^ ]+)")


def explain_quota(message: str) -> Verdict:
    """What a refusal by a quota means: FAILED where no amount of waiting can help, since it asks for more than there ever is.

    Args:
        message: the API server's, `exceeded quota: NAME, requested: A=1, used: A=0, limited: A=0`.
    """
    found = _QUOTA.search(message)
    if found:
        try:
            limited = dict(part.split("=", 1) for part in found["limited"].split(","))
            for resource, amount in (part.split("=", 1) for part in found["requested"].split(",")):
                if parse_quantity(amount) > parse_quantity(limited[resource]):
                    detail = f"it asks for {amount} of {resource}, but its namespace's whole quota is {limited[resource]}"
                    return Verdict(State.FAILED, detail, "ask for less, or have the quota raised in the site's file")
        except (ValueError, KeyError):
            return waiting(f"the namespace's quota is used up: {message}")
    return waiting(f"the namespace's quota is used up: {message}")


_PER_CONTAINER = re.compile(r"is forbidden: (?P<said>\[?(?:maximum|minimum) [^ ]+ usage per .+)", re.DOTALL)


def explain_amounts(message: str) -> Verdict | None:
    """What the API server's refusal of a pod says of its amounts; None where it is not about those.

    Args:
        message: of a quota, as `explain_quota` has it, or of a LimitRange, `maximum cpu usage per Container is 4, but limit is 5`.
    """
    if "exceeded quota" in message:
        return explain_quota(message)
    found = _PER_CONTAINER.search(message)
    if found is None:
        return None
    detail = f"its namespace does not let one container ask for this: {found['said']}"
    return Verdict(State.FAILED, detail, "ask for what that allows, or have the limit changed in the site's file")


_IMAGE = {
    "ErrImagePull": "cannot be pulled",
    "ImagePullBackOff": "cannot be pulled",
    "ErrImageNeverPull": "is not on the node and may not be pulled",
    "InvalidImageName": "is not a valid image name",
    "ImageInspectError": "is broken on the node",
}


_ON_DEMAND = re.compile(rf"/{OWN}({'|'.join(ON_DEMAND)}):[^/@]+")


def _to_have_image(image: str) -> str:
    """What to do about an image that nodes do not get."""
    if asked := _ON_DEMAND.search(image):
        return (
            f"no site has it unless it is asked for: on the local site run `primage site local images {asked[1]}`, elsewhere build "
            f"images/{asked[1]} and push it to the site's registry; then run the same command again"
        )
    return "check the image's name and tag, and that the site's nodes can have it"


def explain_pods(pods: Iterable[Object], nodes: Iterable[Object], system: Iterable[Object] = ()) -> Verdict | None:
    """Why the pods of an object do not run: FAILED where no amount of waiting can help, WAITING with the reason where it can.

    None when nothing is wrong with any of them.

    Args:
        nodes: looked at where a pod is `unschedulable`.
        system: the pods of the cluster itself; those that stay with their node leave the less to others.
    """
    own = [pod for pod in system if _stays(pod)]
    machines = [_Machine(node, [pod for pod in own if pod["spec"].get("nodeName") == node["metadata"]["name"]]) for node in nodes]
    found: Verdict | None = None
    for pod in pods:
        reason = _without_node(pod, machines) or _containers(pod)
        if reason and reason.state is State.FAILED:
            return reason
        found = found or reason
    return found


def _stays(pod: Object) -> bool:
    """Whether a pod belongs to its node, and will be there as long as that."""
    owners = {owner.get("kind") for owner in pod["metadata"].get("ownerReferences") or []}
    ends = is_leaving(pod) or pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
    return bool({"Node", "DaemonSet"} & owners) and not ends


def _containers(pod: Object) -> Verdict | None:
    status = pod.get("status", {})
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        stuck = container.get("state", {}).get("waiting") or {}
        reason = stuck.get("reason", "")
        if reason in _IMAGE:
            detail = f"image {container.get('image') or '(none)'} {_IMAGE[reason]}"
            # The first refusal can be a registry's hiccup; kubelet backs off only after a second one.
            state = State.WAITING if reason == "ErrImagePull" else State.FAILED
            return Verdict(state, detail, _to_have_image(str(container.get("image"))))
        if reason in {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}:
            return Verdict(State.FAILED, stuck.get("message", reason), "create what it names, or correct the name")
        if reason == "CrashLoopBackOff":
            return waiting(f"container {container.get('name')} ends again and again")
    return None


@dataclass(frozen=True)
class _Machine:
    """A node, and the pods that stay with it: its static ones, and those of daemon sets."""

    node: Object
    own: list[Object]

    def has(self, resource: str) -> Decimal:
        """What it has for pods, its own among them."""
        return parse_quantity(str(self.node["status"]["allocatable"].get(resource, "0")))

    def taken(self, resource: str) -> Decimal:
        """What its own pods ask for."""
        return sum((_requests(pod).get(resource, Decimal(0)) for pod in self.own), Decimal(0))

    def room(self, resource: str) -> Decimal:
        """What it has for others when it is empty."""
        return self.has(resource) - self.taken(resource)


def unschedulable(pod: Object) -> str | None:
    """What the scheduler says of a pod that it found no node for; None of any other."""
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return str(condition.get("message", ""))
    return None


def _without_node(pod: Object, machines: list[_Machine]) -> Verdict | None:
    said = unschedulable(pod)
    if said is None:
        return None
    if never := _fits_nowhere(pod, machines):
        return Verdict(State.FAILED, never, "ask for less, or have a machine with more added to the site")
    return waiting(f"no node has room now: {_scheduler_in_words(said)}")


_VERDICT = re.compile(
    r"0/(?P<nodes>\d+) nodes are available: (?P<why>.*?)\.?( preemption:.*| no new claims to deallocate.*)?", re.DOTALL
)
_MOST_READ = 2000
"""Characters of a scheduler's message that are read: it quotes names that are anybody's."""
_IN_WORDS = (
    (re.compile(r"\b(\d{1,6}) Insufficient ([^\s,]+)"), r"\1 with too little \2 left"),
    (re.compile(r"\b(\d{1,6}) node\(s\) had untolerated taint \{([^:}]*)[^}]*\}"), r"\1 kept free by the taint \2"),
    (re.compile(r"\b(\d{1,6}) node\(s\) had untolerated taint\(s\)"), r"\1 kept free by taints"),
    (re.compile(r"\b(\d{1,6}) node\(s\) didn't match Pod's node affinity/selector"), r"\1 that the pod's node selector leaves out"),
    (re.compile(r"\b(\d{1,6}) node\(s\) were unschedulable"), r"\1 closed to new pods"),
    (re.compile(r"\b(\d{1,6}) Too many pods"), r"\1 with as many pods as they may have"),
)


def _scheduler_in_words(said: str) -> str:
    """The scheduler's message in a person's words, as far as they are known; what it tried besides is left out."""
    said = said[:_MOST_READ].strip()
    found = _VERDICT.fullmatch(said)
    if not found:
        return said
    words, nodes = found["why"], found["nodes"]
    for pattern, instead in _IN_WORDS:
        words = pattern.sub(instead, words)
    return f"of {nodes} node{'' if nodes == '1' else 's'}, {words}"


def _fits_nowhere(pod: Object, machines: list[_Machine]) -> str:
    """A sentence when no node of the site, even an empty one, could hold the pod."""
    selector = pod.get("spec", {}).get("nodeSelector") or {}
    fitting = [m for m in machines if selector.items() <= (m.node["metadata"].get("labels") or {}).items()]
    if selector and not fitting:
        wanted = ", ".join(f"{key}={value}" for key, value in selector.items())
        return f"no node has the labels it selects ({wanted})"
    try:
        for resource, amount in _requests(pod).items():
            best = max(fitting, key=lambda machine: machine.room(resource), default=None)
            if best is None or amount > best.room(resource):
                return f"it asks for {_amount(pod, resource)} of {resource}, and the largest node has {_largest(best, resource)}"
    except InvalidQuantityError:
        return ""
    return ""


def _requests(pod: Object) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for container in pod.get("spec", {}).get("containers", []):
        for resource, text in (container.get("resources", {}).get("requests") or {}).items():
            total[resource] = total.get(resource, Decimal(0)) + parse_quantity(str(text))
    return total


def _amount(pod: Object, resource: str) -> str:
    given = [
        str(c["resources"]["requests"][resource])
        for c in pod["spec"]["containers"]
        if resource in (c.get("resources", {}).get("requests") or {})
    ]
    return " + ".join(given)


def _largest(machine: _Machine | None, resource: str) -> str:
    if machine is None:
        return "0"
    has, taken = str(machine.node["status"]["allocatable"].get(resource, "0")), machine.taken(resource)
    shown = f"{taken / 2**20:.0f}Mi" if resource in {"memory", "ephemeral-storage"} else f"{taken:f}"
    return f"{has}, of which its own pods take {shown}" if taken else has
