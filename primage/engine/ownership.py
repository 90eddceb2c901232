"""Whose an object is, and where a stack's objects may be: what is asked before anything is taken over or deleted.

A stack's state says what it owns, and whoever may write in a run's namespace may write its state. So a state decides
nothing alone: it can only name objects of the stack's own place, and of those only the ones that say they are the stack's.
"""

from __future__ import annotations

from dataclasses import dataclass

from primage.clients.cluster import Object, Ref
from primage.contract import gateway_api
from primage.contract.names import CREDENTIALS_MANAGER, LABEL_APP, LABEL_SITE, LABEL_STACK, stack_label
from primage.projects.project import Project, StackName

APP_KINDS = frozenset(
    {
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("batch/v1", "Job"),
        *((kind.api_version, kind.kind) for kind in gateway_api.OF_MEMBERS),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("rbac.authorization.k8s.io/v1", "Role"),
        ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        ("v1", "ConfigMap"),
        ("v1", "Secret"),
        ("v1", "Service"),
        ("v1", "ServiceAccount"),
    }
)
"""What apps make. A program that declares another kind is refused: add it here once its state may name it."""
SITE_KINDS = frozenset(
    {
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        *((kind.api_version, kind.kind) for kind in (gateway_api.GATEWAY, gateway_api.GATEWAY_CLASS)),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("primage.eu/v1", "Member"),
        ("primage.eu/v1", "VirtualOrganisation"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        ("scheduling.k8s.io/v1", "PriorityClass"),
        ("v1", "ConfigMap"),
        ("v1", "LimitRange"),
        ("v1", "Namespace"),
        ("v1", "PersistentVolume"),
        ("v1", "PersistentVolumeClaim"),
        ("v1", "ResourceQuota"),
        ("v1", "Service"),
        ("v1", "ServiceAccount"),
    }
)
"""What the site program and its authorizer make: where a site's objects are looked for."""
STATE_TYPE = "primage.eu/state"
"""Type of the Secrets that the embedded engine keeps the state of runs in: the engine's, not the stack's."""
MAX_MANAGER = 128


@dataclass(frozen=True)
class Scope:
    """Where a stack's objects may be: an app's in its own namespace, a site's anywhere on the site's cluster."""

    namespace: str = ""

    @staticmethod
    def of(name: StackName) -> Scope:
        """The place of a stack."""
        return Scope(name.namespace if name.app else "")

    def objection(self, ref: Ref) -> str:
        """Why an object cannot be the stack's, as what is said of it; empty when it can be."""
        if not self.namespace:
            return ""
        if (ref.api_version, ref.kind) not in APP_KINDS:
            return f"is of a kind ({ref.api_version} {ref.kind}) that no app makes"
        if ref.namespace != self.namespace:
            return f"is not in {self.namespace}, the stack's own namespace"
        return ""


@dataclass(frozen=True)
class Owner:
    """What tells a stack's objects from all others.

    Attributes:
        name: the stack's.
        manager: the field manager its objects are applied by.
        label: the value of `LABEL_STACK` that they carry.
    """

    name: StackName
    manager: str
    label: str

    @staticmethod
    def of(name: StackName, project: Project) -> Owner:
        """The owner that a stack is."""
        return Owner(name, f"primage:{project.name}/{name.stack}"[:MAX_MANAGER], stack_label(str(name)))

    def owns(self, live: Object) -> bool:
        """Whether an object says it is this stack's: by its label, or where it has none, by who applied it.

        Objects that were made before there was such a label have none until the next `up`.
        """
        labels = _labels(live)
        if LABEL_STACK in labels:
            return labels[LABEL_STACK] == self.label
        generated = live.get("kind") == "Secret" and managed_by(live, CREDENTIALS_MANAGER)
        return managed_by(live, self.manager) or (generated and bool(self.name.app) and labels.get(LABEL_APP) == self.name.app)


def whose(live: Object) -> str:
    """Who an object belongs to, as the end of a sentence."""
    labels, managers = _labels(live), ", ".join(managers_of(live)) or "nobody known"
    if LABEL_STACK in labels:
        return f"stack {labels[LABEL_STACK]} of site {labels.get(LABEL_SITE, '?')}, written by {managers}"
    return f"written by {managers}"


def managed_by(obj: Object, manager: str) -> bool:
    """Whether `manager` has applied fields of the object: that is how an object is known to be a stack's own."""
    entries = obj.get("metadata", {}).get("managedFields", [])
    return any(entry.get("manager") == manager for entry in entries)


def managers_of(obj: Object) -> list[str]:
    """Who has written fields of the object."""
    entries = obj.get("metadata", {}).get("managedFields", [])
    return sorted({entry.get("manager", "?") for entry in entries})


def _labels(live: Object) -> dict[str, str]:
    return dict(live.get("metadata", {}).get("labels") or {})
