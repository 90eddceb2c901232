"""A hostile member: a real token with Kubernetes' built-in role `edit` in their own namespace, and nothing else."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any

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
        name = pod["metadata"]["name"]
        made = self.apply(pod)
        assert made.returncode == 0, made.stderr
        try:
            end = time.monotonic() + timeout_s
            phase = ""
            while phase not in ENDED:
                assert time.monotonic() < end, f"pod {name} is still {phase}"
                self.try_to("wait", f"pod/{name}", "-n", self.namespace, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=2s")
                phase = self.try_to("get", "pod", name, "-n", self.namespace, "-o", "jsonpath={.status.phase}").stdout
            return self.try_to("logs", name, "-n", self.namespace).stdout
        finally:
            self.try_to("delete", "pod", name, "-n", self.namespace, "--wait=true", "--ignore-not-found")
