"""A Secret whose content is made when it is made, and kept nowhere else.

A dynamic provider writes the Secret itself and hands back only its name: neither engine's state ever holds what is in it.
"""

from __future__ import annotations

import base64
from typing import Any

import pulumi
from pulumi.dynamic import CheckFailure, CheckResult, CreateResult, DiffResult, Resource, ResourceProvider

from primage.clients.cluster import Cluster, Object, Ref
from primage.components.dynamic_providers import UNNAMED
from primage.contract import names
from primage.errors import ExitCode, PrimageError

MANAGER = names.CREDENTIALS_MANAGER


def shown(secret: Object, key: str) -> str:
    """What a Secret has under a key; empty where it has nothing."""
    return base64.b64decode((secret.get("data") or {}).get(key, "")).decode()


class GeneratedSecret(Resource):
    """A resource that stands for such a Secret."""

    def __init__(
        self, provider: ResourceProvider, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        once = pulumi.ResourceOptions(aliases=[pulumi.Alias(type_=UNNAMED)])
        super().__init__(provider, name, {**inputs, "generation": None}, pulumi.ResourceOptions.merge(opts, once))


class GeneratedSecretProvider(ResourceProvider):
    """Makes and removes a Secret; a kind of secret says in `make` what is in it.

    Inputs: kubeconfig, context, namespace, secret (its name), labels, and what `make` and `fixed` need. A Secret without
    these labels belongs to somebody else: it is neither used nor removed.
    """

    fixed: tuple[str, ...] = ("namespace", "secret")
    """Inputs that identify the Secret: if one of them changes, the Secret is replaced."""

    def make(self, props: dict[str, Any]) -> dict[str, str]:
        """The Secret's keys and values."""
        raise NotImplementedError

    def address(self, props: dict[str, Any]) -> Ref:
        """The Secret."""
        return Ref("v1", "Secret", str(props["secret"]), str(props["namespace"]))

    def outdated(self, found: Object) -> bool:  # noqa: ARG002
        """Whether what is in a Secret has to be made again; a kind of secret that ends says so here."""
        return False

    def known_of(self, found: Object) -> dict[str, str]:  # noqa: ARG002
        """What everybody may know of a Secret's content, as outputs of its resource."""
        return {}

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Refuse, before anything is made, to take over a Secret that is somebody else's."""
        known = all(isinstance(news.get(key), str) for key in ("kubeconfig", "context", "namespace", "secret"))
        try:
            if known and (found := _reach(news).get(self.address(news))):
                _require_own(found, self.address(news), news["labels"])
        except PrimageError as error:
            if error.code is ExitCode.UNREACHABLE:
                raise
            return CheckResult(news, [CheckFailure("secret", str(error))])
        return CheckResult(news, [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Write it, unless an earlier run wrote it and was killed before it could record that."""
        cluster, ref = _reach(props), self.address(props)
        found = cluster.get(ref)
        if found is None:
            obj = {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "Opaque",
                "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": props["labels"]},
                "stringData": self.make(props),
            }
            found = cluster.apply(obj, manager=MANAGER)
        _require_own(found, ref, props["labels"])
        generation = str(found["metadata"]["uid"])[:8]
        return CreateResult(f"{ref.namespace}/{ref.name}", {**props, "generation": generation, **self.known_of(found)})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """A change of what is fixed means another Secret, and so does one that somebody has deleted, or that is outdated."""
        replaces = [key for key in self.fixed if (olds.get(key) or None) != (news.get(key) or None)]
        if not replaces:
            found = _reach(news).get(self.address(news))
            replaces = ["secret"] if found is None or self.outdated(found) else []
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=True)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Remove it."""
        cluster, ref = _reach(props), self.address(props)
        found = cluster.get(ref)
        if found is not None:
            _require_own(found, ref, props["labels"])
            # At once: nothing depends on it, and the next `up` must not take it for the one it needs.
            cluster.delete(ref, uid=str(found["metadata"]["uid"]), propagation="Background")


def _reach(props: dict[str, Any]) -> Cluster:
    return Cluster(props["kubeconfig"], props["context"])


def _require_own(found: Object, ref: Ref, labels: dict[str, str]) -> None:
    """Refuse a Secret that is there already and was not made for this stack."""
    carried = found["metadata"].get("labels") or {}
    # One made before stacks had a label of their own lacks that one.
    wanted = {key: value for key, value in labels.items() if key != names.LABEL_STACK or key in carried}
    missing = [f"{key}={value}" for key, value in wanted.items() if carried.get(key) != value]
    if missing:
        raise PrimageError(
            f"{ref} is there already and was not made for this stack: it does not carry {', '.join(missing)}",
            todo="give the stack another name or run, or move that Secret to another name; it is left as it is",
        )
