"""A control plane of its own for a test: etcd, API server and controllers of the tool cache, with nodes that only seem to be.

What makes, binds and removes objects is Kubernetes' own; no image is pulled and nothing runs. A whole site program can so
be brought up and destroyed from nothing while the local site stands.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from primage.clients.cluster import Cluster, Object, Ref, Refused
from primage.components.queues.queue_credentials import make_credentials
from primage.errors import PrimageError

START_S = 120
ADMIN = "only-for-this-test"
CONTROLLERS = "also-only-for-this-test"
PERSON = "of-grace-for-this-test"
GRACE = "grace@example.org"
TOKENS = (
    f"{ADMIN},admin,1,system:masters\n{CONTROLLERS},system:kube-controller-manager,2,system:masters\n{PERSON},primage:{GRACE},3\n"
)
POLICY = Path(__file__).resolve().parents[2] / "roles/kubernetes_control_plane/templates/audit-policy.yaml.j2"


@dataclass
class ControlPlane:
    """Its processes.

    Attributes:
        kubeconfig: an operator's; beside it are `person`, which is GRACE's, and `audit.log`.
        store: URL of etcd.
        commands: by program.
    """

    kubeconfig: Path
    store: str
    commands: dict[str, list[str]]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, program: str) -> None:
        """Start a program, which does not run."""
        folder = self.kubeconfig.parent
        environment = {**os.environ, "HOME": str(folder), "GOGC": "400"}  # as on the local site: less looking for garbage
        with (folder / f"{program}.log").open("ab") as log:
            self.running[program] = subprocess.Popen(self.commands[program], stdout=log, stderr=log, env=environment)

    def kill(self, program: str) -> None:
        """End a program at once, wherever it is."""
        self.running[program].kill()
        self.running[program].wait()

    def answering(self) -> Cluster:
        """Return once all of it is at work, with an operator's connection."""
        # The controllers are at work once they have given the first namespace its account.
        return self._once(lambda cluster: cluster.get(Ref("v1", "ServiceAccount", "default", "default")))

    def serving(self) -> Cluster:
        """Return once the API server is: controllers wait for it no longer than ten seconds, and end."""
        return self._once(lambda cluster: cluster.raw("/readyz") == "ok")

    def _once(self, so: Callable[[Cluster], object]) -> Cluster:
        cluster = Cluster(str(self.kubeconfig))
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            gone = [program for program, process in self.running.items() if process.poll() is not None]
            assert not gone, f"{gone} ended; see {self.kubeconfig.parent}"
            with suppress(PrimageError, Refused):
                if so(cluster):
                    return cluster
            time.sleep(0.1)
        raise AssertionError(f"no API server after {START_S} s; see {self.kubeconfig.parent}")


@contextmanager
def control_plane(tools: Path, folder: Path) -> Iterator[str]:
    """Path of an operator's kubeconfig, while it runs; beside it are `person`, which is GRACE's, and `audit.log`."""
    with processes(tools, folder) as made:
        yield str(made.kubeconfig)


@contextmanager
def processes(tools: Path, folder: Path, *flags: str) -> Iterator[ControlPlane]:
    """The same, with its processes to be ended and started.

    Args:
        flags: of the API server, beside those that it always has.
    """
    made = _prepared(tools, folder, flags)
    ended = threading.Event()
    try:
        for program in ("etcd", "kube-apiserver"):
            made.start(program)
        made.serving()
        made.start("kube-controller-manager")
        pods = threading.Thread(target=_pretend, args=(made.answering(), ended), daemon=True)
        pods.start()
        yield made
        ended.set()
        pods.join(30)
    finally:
        ended.set()
        for process in reversed(made.running.values()):
            process.kill()
            process.wait()


def _prepared(tools: Path, folder: Path, flags: Iterable[str]) -> ControlPlane:
    credentials = make_credentials(["localhost"])
    for name, text in {**credentials, "tokens.csv": TOKENS}.items():
        (folder / name).write_text(text)
    client, peer, port = (_free_port() for _ in range(3))
    server = f"https://localhost:{port}"
    admin = _kubeconfig(folder / "admin", server, ADMIN, credentials["ca.crt"])
    _kubeconfig(folder / "person", server, PERSON, credentials["ca.crt"])
    (folder / "audit-policy.yaml").write_text(POLICY.read_text().split("\n", 1)[1])
    own = _kubeconfig(folder / "controllers", server, CONTROLLERS, credentials["ca.crt"])
    store, members = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    commands = [
        [
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={store}",
            f"--advertise-client-urls={store}",
            f"--listen-peer-urls={members}",
            f"--initial-advertise-peer-urls={members}",
            f"--initial-cluster=default={members}",
            "--unsafe-no-fsync",
        ],
        [
            "kube-apiserver",
            f"--etcd-servers={store}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--tls-cert-file={folder / 'tls.crt'}",
            f"--tls-private-key-file={folder / 'tls.key'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--audit-policy-file={folder / 'audit-policy.yaml'}",
            f"--audit-log-path={folder / 'audit.log'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://localhost",
            f"--service-account-signing-key-file={folder / 'tls.key'}",
            f"--service-account-key-file={folder / 'tls.crt'}",
            "--endpoint-reconciler-type=none",
            *flags,
        ],
        [
            "kube-controller-manager",
            f"--kubeconfig={own}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=200",
            "--kube-api-burst=300",
            f"--service-account-private-key-file={folder / 'tls.key'}",
            f"--root-ca-file={folder / 'ca.crt'}",
        ],
    ]
    return ControlPlane(admin, store, {line[0]: [str(tools / line[0]), *line[1:]] for line in commands})


def _pretend(cluster: Cluster, ended: threading.Event) -> None:
    """What nodes would do: pods of Jobs have ended well, all others are ready."""
    while not ended.wait(0.2):
        with suppress(PrimageError, Refused):
            for pod in cluster.list("v1", "Pod"):
                _settle(cluster, pod)


def _settle(cluster: Cluster, pod: Object) -> None:
    ref = Ref.of(pod)
    if pod.get("status", {}).get("phase") != "Pending":
        return
    ends = any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", []))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")]
    status = {"phase": "Succeeded" if ends else "Running", "startTime": now, "conditions": [] if ends else conditions}
    path = f"{cluster._path(ref)}/status"
    cluster._call("PATCH", path, None, json.dumps({"status": status}), content_type="application/merge-patch+json")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _kubeconfig(path: Path, server: str, token: str, authority: str) -> Path:
    import base64

    known = {"server": server, "certificate-authority-data": base64.b64encode(authority.encode()).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": known}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(json.dumps(config))
    return path
