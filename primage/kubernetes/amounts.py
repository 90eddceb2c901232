"""Whether a Job's pods can ever be made, asked before the Job is.

Kubernetes compares a Job's processors and memory with its namespace's quota and limits when the Job makes its pods. By then the Job
that it replaced, and what that one had written, would be gone.
"""

from __future__ import annotations

from primage.clients.cluster import Cluster, Object, Refused
from primage.errors import PrimageError
from primage.kubernetes.readiness import State, explain_amounts

LONGEST_PART = 50
"""Letters of a Job's name in that of the pod that is tried: a name has at most 63."""


def makes_pods(obj: Object) -> bool:
    """Whether it is a Job that Kubernetes makes pods of: not those that somebody else manages."""
    spec = obj.get("spec") or {}
    return bool(obj.get("kind") == "Job" and not spec.get("managedBy") and (spec.get("template") or {}).get("spec"))


def require_possible(cluster: Cluster, job: Object, *, manager: str) -> None:
    """Have the API server try one of a Job's pods, which makes none.

    What else it may have against that pod is not asked here: of a controller's pods it may think otherwise, and it says so then.
    https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run

    Args:
        job: one that makes pods.
        manager: of its fields.

    Raises:
        PrimageError: a pod of it asks for more than its namespace ever has, or than one container may.
    """
    meta, template = job["metadata"], job["spec"]["template"]
    about = template.get("metadata") or {}
    named = {"name": f"{meta['name'][:LONGEST_PART]}-planned", "namespace": meta.get("namespace", "default")}
    kept = {key: about[key] for key in ("labels", "annotations") if about.get(key)}
    try:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**kept, **named}, "spec": template["spec"]}
        cluster.apply(pod, manager=manager, dry_run=True)
    except Refused as refusal:
        found = explain_amounts(refusal.message)
        if found and found.state is State.FAILED:
            raise PrimageError(
                f"Job {named['namespace']}/{meta['name']} can never run: {found.detail}", todo=found.todo
            ) from refusal
