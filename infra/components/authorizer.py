"""What makes tenants' objects (services/authorizer), with the rights it needs and no others."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import pulumi

from infra.components.cluster_role import cluster_role, cluster_role_binding
from infra.components.system_object import single_pod, system_object
from infra.components.token_pod import RUN, token_container, token_pod
from primage.contract import custom_resources, memberships, names, offer
from primage.contract.egress import for_tokens, to_login
from primage.contract.hpc import backend_object
from primage.contract.login import (
    AUTHORITY_KEY,
    CLIENT_SECRET,
    CLIENT_SECRET_KEY,
    PORTAL_SECRET,
    PORTAL_SECRET_FILE,
    LoginConfig,
)
from primage.contract.offer import SiteOffer
from primage.contract.pod_security import container_security
from primage.contract.probes import ALIVE
from primage.contract.roles import Access
from primage.contract.tenant_objects.objects import RBAC
from primage.contract.tenant_secrets import TenantSecretsConfig

NAME = names.AUTHORIZER
ROLE = f"primage-{NAME}"
UID = 10002
SOCKET, LOGIN = f"{RUN}/folders", "/run/login"
SOURCES = {"storage": "/run/storage", "pull": "/run/pull"}
"""Where it has the operator's Secrets that tenants have copies of."""
COPIES = [names.PULL_SECRET, names.STORAGE_SECRET]
START_S = 120
FOLDER_RIGHTS = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")
"""To give folders away and set their modes; the last keeps the set-group-ID bit of a group that root is not in."""
KEPT = ["list", "watch", "create", "patch", "delete"]
OLD = ["list", "watch", "delete"]


class Authorizer(pulumi.ComponentResource):
    """One pod of two containers: one has the token and no root, the other is root on the shared volumes and has no token.

    Args:
        image: with both programs.
        found: what the site has for tenants.
    """

    def __init__(self, name: str, image: str, found: SiteOffer, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("primage:site:Authorizer", name, {}, opts)
        self._name = name
        self._labels = {names.LABEL_APP: NAME}
        self._here = pulumi.ResourceOptions(parent=self)
        self._declare = partial(system_object, name, self._labels, self._here)
        needed = [
            self._declare("v1", "ConfigMap", offer.CONFIG_MAP, data={offer.KEY: found.model_dump_json(indent=1)}),
            self._declare("v1", "ServiceAccount", NAME, automountServiceAccountToken=False),
            *(cluster_role(f"{name}-clusterrole-{role}", role, rules, self._here) for role, rules in _roles(found).items()),
            cluster_role_binding(f"{name}-clusterrolebinding-{ROLE}", ROLE, NAME, self._here),
            self._declare("networking.k8s.io/v1", "NetworkPolicy", NAME, spec=for_tokens(found.network)),
        ]
        if found.login:
            spec = {"podSelector": {"matchLabels": self._labels}, "policyTypes": ["Egress"], "egress": to_login(found.login)}
            needed.append(self._declare("networking.k8s.io/v1", "NetworkPolicy", f"{NAME}-login", spec=spec))
        metadata = {"labels": {**self._labels, names.LABEL_API_ACCESS: "true"}}
        # Two at a time would make everything twice.
        after = pulumi.ResourceOptions(parent=self, depends_on=needed)
        single_pod(self._name, self._labels, after, NAME, metadata, _pod(image, found))
        self.register_outputs({})


def _roles(found: SiteOffer) -> dict[str, list[dict[str, Any]]]:
    """Its own ClusterRole, and those that it binds in tenants' namespaces, by name."""
    return {
        names.CONNECTOR_ROLE: _connector_rules([centre.name for centre in found.hpc.backends]),
        names.MEMBERS_ROLE: _members_rules(),
        ROLE: _rules(found),
    }


def _rules(found: SiteOffer) -> list[dict[str, Any]]:
    """To make, mend and remove tenants' objects; of roles, to bind these few."""
    login = found.login is not None
    bound = [*(access.value for access in Access), names.CONNECTOR_ROLE, names.MEMBERS_ROLE]
    bound += [names.JOIN_ROLE, names.MEMBERSHIP_ROLE] if login else []
    # What people ask for and administrators decide: it says what became of each, and removes them once they are old.
    asked = [memberships.REQUESTS, memberships.DECISIONS]
    of_memberships: list[dict[str, Any]] = [
        {"apiGroups": [custom_resources.GROUP], "resources": asked, "verbs": ["get", "list", "watch", "delete"]},
        {"apiGroups": [custom_resources.GROUP], "resources": [f"{kind}/status" for kind in asked], "verbs": ["patch"]},
    ]
    return [
        {
            "apiGroups": [custom_resources.GROUP],
            "resources": [custom_resources.ORGANISATIONS, custom_resources.MEMBERS],
            "verbs": ["get", "list", "watch", "patch"],
        },
        # Members whom the identity provider names.
        {"apiGroups": [custom_resources.GROUP], "resources": [custom_resources.MEMBERS], "verbs": ["create"]},
        {
            "apiGroups": [custom_resources.GROUP],
            "resources": [f"{custom_resources.ORGANISATIONS}/status", f"{custom_resources.MEMBERS}/status"],
            "verbs": ["patch"],
        },
        *(of_memberships if login else []),
        *rules_of_copies(found.secrets),
        # Whoever may update a namespace is an operator to admission (infra/admission/who_asks.py).
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": [*KEPT, "get", "update"]},
        {
            "apiGroups": [""],
            "resources": [
                "persistentvolumes",
                "persistentvolumeclaims",
                "configmaps",
                "resourcequotas",
                "limitranges",
            ],
            "verbs": KEPT,
        },
        # Of an older version: each tenant had a connector of its own.
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": OLD},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": OLD},
        # Of who has no role any more they are suspended; of who is taken away they are deleted, before the rights of the connector
        # that cancels them at their centre go with the namespace.
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": KEPT},
        {"apiGroups": [RBAC], "resources": ["rolebindings"], "verbs": KEPT},
        {"apiGroups": [RBAC], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": bound},
    ]


def rules_of_copies(secrets: TenantSecretsConfig) -> list[dict[str, Any]]:
    """Of Secrets, by these two names alone; without the settings, to remove what there was."""
    copied = bool(secrets.storage or secrets.pull)
    rules: list[dict[str, Any]] = [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "verbs": ["list", "delete", *(["patch"] if copied else [])],
            "resourceNames": COPIES,
        },
        # Whose pods pull with the copy.
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "patch"], "resourceNames": ["default"]},
    ]
    # A right to make has no names; whoever has it reads nothing by it.
    return [*rules, {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}] if copied else rules


def _connector_rules(centres: list[str]) -> list[dict[str, Any]]:
    """Jobs and their status, scripts, these centres' credentials, and events: of a namespace that it is bound in."""
    credentials = [backend_object(centre) for centre in centres]
    secrets = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": credentials}] if credentials else []
    return [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["batch"], "resources": ["jobs/status"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["configmaps", "namespaces"], "verbs": ["get"]},
        *secrets,
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]


def _members_rules() -> list[dict[str, Any]]:
    return [{"apiGroups": [custom_resources.GROUP], "resources": [custom_resources.MEMBERS], "verbs": ["list", "watch"]}]


def _pod(image: str, found: SiteOffer) -> dict[str, Any]:
    roots = {"datalake": found.volumes.datalake.whole(), "home": found.volumes.home.whole()}
    volumes: list[dict[str, Any]] = [{"name": name, **source} for name, source in roots.items()]
    if found.login:
        volumes.insert(0, {"name": "login", "projected": {"defaultMode": 0o440, "sources": _credentials(found.login)}})
    sources = _sources(found)
    for name, secret in sources.items():
        # One that an operator has not made yet, or makes again, keeps nobody waiting.
        volumes.insert(0, {"name": name, "secret": {"secretName": secret, "optional": True, "defaultMode": 0o440}})
    containers = [_authorizer(image, sources, login=found.login is not None), _folders(image, list(roots))]
    return token_pod(NAME, UID, containers, volumes)


def _sources(found: SiteOffer) -> dict[str, str]:
    """The operator's Secrets, by what they are for."""
    given = {"storage": found.secrets.storage, "pull": found.secrets.pull}
    return {name: secret for name, secret in given.items() if secret}


def _credentials(login: LoginConfig) -> list[dict[str, Any]]:
    """The authorizer's secret at the identity provider, the authority that vouches for that, and the secret it tells it of."""
    sources: list[dict[str, Any]] = [{"secret": {"name": CLIENT_SECRET}}]
    if login.keycloak:
        item = {"key": AUTHORITY_KEY, "path": AUTHORITY_KEY}
        sources.append({"secret": {"name": login.keycloak.certificate_secret, "items": [item], "optional": True}})
    if login.portal:
        item = {"key": CLIENT_SECRET_KEY, "path": PORTAL_SECRET_FILE}
        sources.append({"secret": {"name": PORTAL_SECRET, "items": [item], "optional": True}})
    return sources


def _authorizer(image: str, sources: Iterable[str], *, login: bool) -> dict[str, Any]:
    environment = {"PRIMAGE_NAMESPACE": names.SYSTEM_NAMESPACE, "PRIMAGE_FOLDERS": SOCKET, "PRIMAGE_ALIVE": ALIVE}
    environment |= {f"PRIMAGE_{name.upper()}": SOURCES[name] for name in sources}
    mounts = [{"name": name, "mountPath": SOURCES[name], "readOnly": True} for name in sources]
    if login:
        environment["PRIMAGE_LOGIN"] = LOGIN
        mounts.append({"name": "login", "mountPath": LOGIN, "readOnly": True})
    container = token_container(NAME, image, UID, environment, START_S, "150Mi", mounts)
    return {**container, "command": ["python3", "-m", "authorizer"]}


def _folders(image: str, roots: list[str]) -> dict[str, Any]:
    """Root, with no more of root's rights than making folders takes, and nothing but the volumes' roots to use them on."""
    amounts = {"cpu": "5m", "memory": "48Mi"}
    return {
        "name": names.FOLDERS,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [
            "python3",
            "-m",
            "authorizer.folders",
            SOCKET,
            names.FOLDERS_VOLUMES,
            f"{names.AUDIT_VOLUME}/{names.AUDIT_FOLDER}",
        ],
        "resources": {"requests": amounts, "limits": {**amounts, "cpu": "500m"}},
        "securityContext": {
            **container_security(),
            "runAsUser": 0,
            "runAsGroup": 0,
            "capabilities": {"drop": ["ALL"], "add": list(FOLDER_RIGHTS)},
        },
        "volumeMounts": [
            {"name": "run", "mountPath": RUN},
            *({"name": name, "mountPath": f"{names.FOLDERS_VOLUMES}/{name}"} for name in roots),
        ],
    }
