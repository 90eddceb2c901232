"""Objects of tenants: their addresses, whose they are, and whether one is as it should be."""

from __future__ import annotations

from typing import Any, NamedTuple

from primage.contract import custom_resources as custom
from primage.contract import memberships, names
from primage.contract.quantities import InvalidQuantityError, parse_quantity
from primage.contract.tenant_objects.objects import Object


class Kind(NamedTuple):
    """A kind of object, as the API's paths spell it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As objects name it."""
        return f"{self.group}/{self.version}" if self.group else self.version


NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
VOLUME = Kind("", "v1", "PersistentVolume", "persistentvolumes", namespaced=False)
CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
BINDING = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
KINDS = (
    NAMESPACE,
    VOLUME,
    CLAIM,
    CONFIG_MAP,
    DEPLOYMENT,
    BINDING,
    Kind("", "v1", "ResourceQuota", "resourcequotas"),
    Kind("", "v1", "LimitRange", "limitranges"),
    ACCOUNT,
    Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
)
"""What tenants' objects are, the namespace first."""
JOB = Kind("batch", "v1", "Job", "jobs")
POD = Kind("", "v1", "Pod", "pods")
SECRET = Kind("", "v1", "Secret", "secrets")
ORGANISATION = Kind(custom.GROUP, custom.VERSION, custom.ORGANISATION, custom.ORGANISATIONS, namespaced=False)
MEMBER = Kind(custom.GROUP, custom.VERSION, custom.MEMBER, custom.MEMBERS)
REQUEST = Kind(custom.GROUP, custom.VERSION, memberships.REQUEST, memberships.REQUESTS)
DECISION = Kind(custom.GROUP, custom.VERSION, memberships.DECISION, memberships.DECISIONS)
OTHERS = (JOB, POD, SECRET, ORGANISATION, MEMBER, REQUEST, DECISION)
"""What is asked for, written or deleted without a watch of its own, and made by others for the most part."""
BY_NAME = {(kind.api_version, kind.kind): kind for kind in (*KINDS, *OTHERS)}


class Address(NamedTuple):
    """Where an object is."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


def address_of(obj: Object) -> Address:
    """The address of an object of a known kind."""
    metadata = obj["metadata"]
    return Address(BY_NAME[obj["apiVersion"], obj["kind"]], metadata.get("namespace") or "", metadata["name"])


def owner_of(obj: Object) -> str:
    """The namespace of the tenant that an object is of, as its labels say; empty where they say none."""
    labels = obj["metadata"].get("labels") or {}
    return str(labels.get(names.LABEL_USER) or labels.get(names.LABEL_VO) or "")


def has_user(binding: Object) -> bool:
    """Whether a binding gives rights to a person, and not to a pod."""
    return any(subject.get("kind") == "User" for subject in binding.get("subjects") or [])


def differs(live: Any, wanted: Any) -> bool:
    """Whether anything of what is wanted is not so; what the API server or a controller adds does not count."""
    if isinstance(wanted, dict):
        return not isinstance(live, dict) or any(
            differs(live[key], value) if key in live else value not in ("", None, [], {}) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return not isinstance(live, list) or len(live) != len(wanted) or any(map(differs, live, wanted))
    return bool(live != wanted) and not _same_amount(live, wanted)


def differs_in_any_order(live: Any, wanted: Any) -> bool:
    """The same, where a list of names has no order."""
    return differs(_sorted(live), _sorted(wanted))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted(value) if all(isinstance(item, str) for item in value) else [_sorted(item) for item in value]
    return value


def _same_amount(live: Any, wanted: Any) -> bool:
    """Whether two texts are one quantity: the API server writes 1024Mi as 1Gi."""
    if not isinstance(live, str) or not isinstance(wanted, str):
        return False
    try:
        return parse_quantity(live) == parse_quantity(wanted)
    except InvalidQuantityError:
        return False
