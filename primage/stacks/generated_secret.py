"""A Secret whose content is made when it is made, and kept nowhere else.

A dynamic provider writes the Secret itself and hands back only its name: neither engine's state ever holds what is in it.
"""

from __future__ import annotations

from typing import Any

from pulumi.dynamic import CreateResult, DiffResult, ResourceProvider

MANAGER = "primage-credentials"


class GeneratedSecretProvider(ResourceProvider):
    """Makes and removes a Secret; a kind of secret says in `make` what is in it.

    Inputs: kubeconfig, context, namespace, secret (its name), labels, and what `make` and `fixed` need.
    """

    fixed: tuple[str, ...] = ("namespace", "secret")
    """Inputs whose change means another Secret."""

    def make(self, props: dict[str, Any]) -> dict[str, str]:
        """The Secret's keys and values."""
        raise NotImplementedError

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Write it, unless an earlier run that was killed before it could note so has."""
        from primage.clients.cluster import Cluster, Ref

        cluster = Cluster(props["kubeconfig"], props["context"])
        ref = Ref("v1", "Secret", props["secret"], props["namespace"])
        if cluster.get(ref) is None:
            obj = {
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": props["labels"]},
                "stringData": self.make(props),
            }  # fmt: skip
            cluster.apply(obj, manager=MANAGER)
        found = cluster.get(ref) or {}
        generation = str(found.get("metadata", {}).get("uid", ""))[:8]
        return CreateResult(f"{ref.namespace}/{ref.name}", {**props, "generation": generation})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Another one when it would be another's, or when somebody has deleted it."""
        from primage.clients.cluster import Cluster, Ref

        replaces = [key for key in self.fixed if olds.get(key) != news.get(key)]
        ref = Ref("v1", "Secret", news["secret"], news["namespace"])
        if not replaces and Cluster(news["kubeconfig"], news["context"]).get(ref) is None:
            replaces = ["secret"]
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=True)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Remove it."""
        from primage.clients.cluster import Cluster, Ref

        ref = Ref("v1", "Secret", props["secret"], props["namespace"])
        Cluster(props["kubeconfig"], props["context"]).delete(ref)
