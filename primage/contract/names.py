"""Names other parts rely on: Pulumi projects, labels, and namespaces derived from identities.

Names that users' templates rely on come from the paper (Segrelles Quilis et al. 2022, figures 6 to 8) and never change.
"""

from __future__ import annotations

import hashlib
import re

SITE_PROJECT = "primage"
"""Pulumi project of the site program; its stacks are the sites."""
HPC_APP = "hpc"
ORGANIZATION = "organization"
"""Organisation of a self-managed Pulumi backend; always this constant there."""

STORAGE_SECRET = "access-primage-storage"  # noqa: S105  # the name of a Secret
STORAGE_SECRET_KEY = "one-client-access-token"  # noqa: S105  # a key in it
PULL_SECRET = "primage-pull"  # noqa: S105  # the name of a Secret
CONFIG_MAP = "primage-configmap"
CONFIG_MAP_PROVIDER_KEY = "oneprovider"
CONFIG_MAP_MOUNT_KEY = "primage.storage"
CONFIG_MAP_AUTHORITY_KEY = "login.authority"
"""The certificate that vouches for the issuer of logins, where none of the usual ones does."""

CLAIM_DATALAKE = "datalake"
CLAIM_HOME_PRIVATE = "home-private"
CLAIM_HOME_SHARED = "home-shared"

LABEL_VO = "primage.eu/vo"
LABEL_USER = "primage.eu/user"
LABEL_SITE = "primage.eu/site"
LABEL_STACK = "primage.eu/stack"
"""Which stack an object is part of (`stack_label`): an engine deletes nothing that does not carry its own."""
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_APP = "app.kubernetes.io/name"
LABEL_INSTANCE = "app.kubernetes.io/instance"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_QUEUE = "primage.eu/queue"
LABEL_PRIVATE = "primage.eu/private"
"""On pods that others of the same namespace must not reach unless a policy of their own says so."""
LABEL_SESSION = "primage.eu/session"
"""`"true"` on pods of sessions: browsers reach their login proxies through the gateway, and those reach the issuer of logins."""
LABEL_API_ACCESS = "primage.eu/api-access"
"""`"true"` on pods that hold a token of the Kubernetes API: the only ones its server is open to."""
LABEL_ORIGIN = "primage.eu/origin"
ORIGIN_LOGIN = "identity-provider"
"""Value of LABEL_ORIGIN on Members whom the identity provider has named; others are of the site's file, or of an operator."""
LABEL_MADE_BY = "primage.eu/made-by"
MADE_BY_SITE = "site"
"""Value of LABEL_MADE_BY on what the site program and the authorizer made; admission keeps such objects from tenants' hands."""
CREDENTIALS_MANAGER = "primage-credentials"
"""Field manager of what is written with credentials in it, whichever command writes it."""
LABEL_UID = "primage.eu/uid"
LABEL_GID = "primage.eu/gid"
"""On a tenant's namespace: the one POSIX user and group its pods run as."""
ANNOTATION_OPENS = "primage.eu/opens"
"""On the Job that a session is: port and path of the page to open, `:8888/notebook/lab/tree/HOME/private`."""
ANNOTATION_SCRATCH = "primage.eu/scratch-max"
"""On a tenant's namespace: the most scratch space on a node that one container may use."""

ANNOTATION_OFFER = "primage.eu/offer"
"""On a VirtualOrganisation or Member: digest of the offer that it is to be made with, where whoever wrote it knows of one."""
ANNOTATION_PAUSED = "primage.eu/paused"
"""`"true"` on a VirtualOrganisation or Member: an operator is at work there, and nothing of it is made, changed or put back."""
ANNOTATION_ACCOUNT = "primage.eu/account"
"""On a Member that the identity provider has named: the provider's own identifier of the account, which no other ever has."""
ANNOTATION_WHY = "primage.eu/why"
"""On a Member that the identity provider has named: why its roles are what they are, for the audit log."""
ANNOTATION_SUSPENDED = "primage.eu/suspended"
"""On a Job whose member had no role: why it was suspended; it goes on once they have one again."""
ANNOTATION_VO, ANNOTATION_USER = "primage.eu/vo-name", "primage.eu/user-name"
"""On a tenant's namespace: the VO's and the member's name in full, which their labels need not spell."""

SYSTEM_NAMESPACE = "primage-system"
"""Where the site's own pods run; no tenant has rights in it."""
HPC_CONNECTOR = "hpc-connector"
"""What all connectors are called by LABEL_APP, and their rights in each namespace; `hpc_connector` names the one of a VO."""
CONNECTOR_ROLE = "primage-hpc-connector"
"""ClusterRole of the connectors, which each has in the namespaces of its VO."""
MEMBERS_ROLE = "primage-hpc-connector-members"
"""ClusterRole of the connectors, which each has in its VO's own namespace, to see who the members are."""
JOIN_ROLE, MEMBERSHIP_ROLE = "primage-join", "primage-membership"
"""ClusterRoles that are bound in each VO's own namespace, where people log in: of everybody, to ask to join and to leave; of who
administers the VO, to see who is a member and to decide."""
MEMBERSHIP_NAME = {"-": "--", "@": "-at-", ".": "-dot-", "_": "-u-", "+": "-p-"}
"""How an identity is spelled in the name of a request or a decision about it, in this order (primage.contract.memberships)."""
AUTHORIZER = "authorizer"
"""What makes tenants' objects: its Deployment, service account and pod in the system's namespace."""
FOLDERS, FOLDERS_VOLUMES = "folders", "/volumes"
"""The container of its pod that makes folders, and keeps its lines of the audit log; and where it has the shared volumes."""
AUDIT_VOLUME, AUDIT_FOLDER = "home", ".audit"
"""Where those lines are: a shared volume, and a folder in its root that no VO can have, since none is called so."""
PORTAL, PORTAL_PORT = "portal", 8443
"""The site's web pages for members: its Deployment, Service and pod in the system's namespace, and where that listens."""

IMAGE_ARCHIVE, CLINICAL_RECORDS, DATASETS = "image-archive", "clinical-records", "datasets"
IMAGE_SENDERS = "image-senders"
"""What LABEL_APP calls the pods of the site's images and records, and of the one service that reaches them; the second line names
what is for those who send images."""

USER_PREFIX = "primage:"
"""What the API server puts before a person's identity, and before each of their groups."""

MAX_LABEL = 63
_PLAIN_IDENTITY = re.compile(r"[a-z0-9]+(?:\.[a-z0-9]+)*(?:@[a-z0-9]+(?:\.[a-z0-9]+)*)?")


def tenant_labels(vo: str, member: str = "") -> dict[str, str]:
    """The labels of a tenant's objects, by the namespace of its VO and, of a member, their own."""
    return {LABEL_VO: vo, **({LABEL_USER: member} if member else {})}


def cluster_user(identity: str) -> str:
    """Who a member is to the Kubernetes API; the prefix keeps them apart from Kubernetes' own users."""
    return f"{USER_PREFIX}{identity}"


def priority_class(priority: str) -> str:
    """The PriorityClass of one of a site's priorities."""
    return f"primage-{priority}"


def queue_server(queue: str) -> str:
    """The name of a queue's StatefulSet, service and Secret."""
    return f"{queue}-queue"


def hpc_connector(namespace: str) -> str:
    """Name of a VO's connector in the system's namespace: its Deployment, its service account and its network policy.

    Args:
        namespace: the VO's own.
    """
    return _within(f"{HPC_CONNECTOR}-{namespace}")


def image_shelf(namespace: str) -> str:
    """Name of what the image archive has for a VO: a Service, and the Secret with its passwords.

    Args:
        namespace: the VO's own.
    """
    return _within(f"{IMAGE_ARCHIVE}-{namespace}")


def image_sending(namespace: str) -> str:
    """Name of the Service by which images are sent to a VO's shelf from elsewhere."""
    return _within(f"{IMAGE_SENDERS}-{namespace}")


def stack_label(stack: str) -> str:
    """The value of `LABEL_STACK` for a stack's full name (`batch/vo.primage.eu.local--trial`).

    A label holds 63 characters and no slash; a longer name keeps its beginning and 40 bits of its SHA-256.
    """
    return _within(stack.replace("/", "_"), stack)


def _within(spelled: str, whole: str = "") -> str:
    """A name of at most MAX_LABEL characters: a longer one keeps its beginning, and 40 bits of what it is whole."""
    if len(spelled) <= MAX_LABEL:
        return spelled
    digest = hashlib.sha256((whole or spelled).encode()).hexdigest()[:10]
    return f"{spelled[: MAX_LABEL - len(digest) - 2].rstrip('-_.')}--{digest}"


def stack_of_label(label: str) -> str:
    """The stack's name that a label of an app's object spells, for a person to read; empty where it does not spell one whole.

    A label is anybody's to write: nothing but a sentence may depend on it.
    """
    app, underscore, rest = label.partition("_")
    return f"{app}/{rest}" if underscore and len(label) < MAX_LABEL else ""


def namespace_for(identity: str) -> str:
    """The namespace of a VO (`vo.primage.eu`) or of a person (`name@domain.tld`).

    Follows the paper's `name-at-domain-dot-tld`. No two identities share a namespace: a plain identity (lower-case
    letters and digits, joined by dots and one @) is spelled out, and its spelling can be read back; any other, or one
    too long, gets its readable beginning, two dashes, which no spelled-out name has, and 40 bits of its SHA-256.

    Raises:
        ValueError: an empty identity.
    """
    if not identity:
        raise ValueError("an empty identity has no namespace")
    spelled = identity.replace("@", "-at-").replace(".", "-dot-")
    if _PLAIN_IDENTITY.fullmatch(identity) and len(spelled) <= MAX_LABEL:
        return spelled
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    readable = re.sub(r"[^a-z0-9]+", "-", spelled.lower()).strip("-")[: MAX_LABEL - len(digest) - 2].strip("-")
    return f"{readable or 'x'}--{digest}"
