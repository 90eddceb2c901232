"""A hostile member: a real token with Kubernetes' built-in role `edit` in their own namespace, and nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hpc_machine import until

from primage.clients.cluster import Cluster, Object, Ref
from primage.local.toolchain.build import tools_dir

SPACE, OTHER_SPACE, VO_SPACE = "member1-at-primage-dot-eu", "member2-at-primage-dot-eu", "vo-dot-primage-dot-eu"
ACCOUNT = "hostile"
UID, GID = 40001, 20001
IMAGE = "10.89.77.11:5000/primage/base:1"
ENDED = ("Succeeded", "Failed")


def kubectl(*arguments: str, kubeconfig: str, given: str | None = None, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run kubectl; what it refuses comes back as a status and words."""
    command = [str(tools_dir() / "kubectl"), "--kubeconfig", kubeconfig, *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=timeout_s, check=False)


def create(cluster: Cluster, obj: Object) -> Object:
    """What `kubectl create` does, and not an apply: Kubernetes tells the two verbs apart.

    Raises:
        Refused: the API server says no.
    """
    path = cluster._path(replace(Ref.of(obj), name=""))
    return cluster._call("POST", path, [("fieldValidation", "Strict")], json.dumps(obj))


def phase(pod: Object | None) -> str:
    return str((pod or {}).get("status", {}).get("phase", ""))


@dataclass(frozen=True)
class Tenant:
    """What such a member can do.

    Attributes:
        namespace: their own.
        kubeconfig: a file with their token and no other credential.
        admin: the operators' kubeconfig, to look at what came of it and to clear up.
    """

    namespace: str
    kubeconfig: str
    admin: str

    @cached_property
    def cluster(self) -> Cluster:
        """The tenant's own connection in this process, for what is said again and again: each kubectl costs a process."""
        return Cluster(self.kubeconfig)

    def try_to(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the tenant."""
        return kubectl(*arguments, kubeconfig=self.kubeconfig, given=given)

    def apply(self, *objects: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Create objects as the tenant."""
        return self.try_to("create", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def pod(self, name: str, script: str, *, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
        """A pod as the site wants it, that runs a shell script; `spec` replaces parts of it."""
        container = {
            "name": "c",
            "image": IMAGE,
            "command": ["sh", "-c", script],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        security = {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": GID,
            "fsGroup": GID,
            "supplementalGroups": [UID],
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        base = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": security,
            "containers": [container],
        }
        metadata = {"name": name, "namespace": self.namespace, "labels": labels or {}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**base, **spec}}

    def says(self, pod: dict[str, Any], timeout_s: float = 120) -> str:
        """What a pod prints until it ends; it is removed then."""
        ref = Ref.of(pod)
        create(self.cluster, pod)
        try:
            until(f"{ref} ends", lambda: phase(self.cluster.get(ref)) in ENDED, timeout_s)
            return self.cluster.logs(ref.namespace, ref.name, tail=10_000)
        finally:
            self.cluster.delete(ref, propagation="Background")
            until(f"{ref} is gone", lambda: self.cluster.get(ref) is None)


@contextmanager
def member(account: str, kubeconfig: str, folder: Path) -> Iterator[Tenant]:
    """A member with `edit` in their own namespace, by a token of an hour.

    Args:
        account: the service account that stands for them, which goes afterwards.
        folder: where their kubeconfig is put.
    """

    def admin(*arguments: str) -> str:
        done = kubectl(*arguments, kubeconfig=kubeconfig)
        assert done.returncode == 0 or "already exists" in done.stderr, done.stderr
        return done.stdout

    admin("create", "serviceaccount", account, "-n", SPACE)
    admin("create", "rolebinding", account, "-n", SPACE, "--clusterrole=edit", f"--serviceaccount={SPACE}:{account}")
    token = admin("create", "token", account, "-n", SPACE, "--duration=1h").strip()
    known = json.loads(admin("config", "view", "--raw", "--minify", "-o", "json"))["clusters"][0]["cluster"]
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tenant",
        "clusters": [{"name": "site", "cluster": known}],
        "users": [{"name": "tenant", "user": {"token": token}}],
        "contexts": [{"name": "tenant", "context": {"cluster": "site", "user": "tenant", "namespace": SPACE}}],
    }
    path.write_text(json.dumps(config))
    yield Tenant(SPACE, str(path), kubeconfig)
    admin("delete", "rolebinding", account, "-n", SPACE)
    admin("delete", "serviceaccount", account, "-n", SPACE)
