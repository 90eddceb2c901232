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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


@contextmanager
def control_plane(tools: Path, folder: Path) -> Iterator[str]:
    """Path of an operator's kubeconfig, while it runs; beside it are `person`, which is GRACE's, and `audit.log`."""
    made = make_credentials(["localhost"])
    for name, text in {**made, "tokens.csv": TOKENS}.items():
        (folder / name).write_text(text)
    client, peer, port = (_free_port() for _ in range(3))
    server = f"https://localhost:{port}"
    admin = _kubeconfig(folder / "admin", server, ADMIN, made["ca.crt"])
    _kubeconfig(folder / "person", server, PERSON, made["ca.crt"])
    (folder / "audit-policy.yaml").write_text(POLICY.read_text().split("\n", 1)[1])
    own = _kubeconfig(folder / "controllers", server, CONTROLLERS, made["ca.crt"])
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
    environment = {**os.environ, "HOME": str(folder), "GOGC": "400"}  # as on the local site: less looking for garbage
    running: list[subprocess.Popen[bytes]] = []
    ended = threading.Event()
    try:
        for command in commands:
            with (folder / f"{command[0]}.log").open("wb") as log:
                line = [str(tools / command[0]), *command[1:]]
                running.append(subprocess.Popen(line, stdout=log, stderr=log, env=environment))
        cluster = _answering(admin, running, folder)
        pods = threading.Thread(target=_pretend, args=(cluster, ended), daemon=True)
        pods.start()
        yield str(admin)
        ended.set()
        pods.join(30)
    finally:
        ended.set()
        for process in reversed(running):
            process.kill()
            process.wait()


def _answering(kubeconfig: Path, running: list[subprocess.Popen[bytes]], folder: Path) -> Cluster:
    cluster = Cluster(str(kubeconfig))
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        gone = [process.args[0] for process in running if process.poll() is not None]  # type: ignore[index]
        assert not gone, f"{gone} ended; see {folder}"
        with suppress(PrimageError, Refused):
            # The controllers are at work once they have given the first namespace its account.
            if cluster.raw("/readyz") == "ok" and cluster.get(Ref("v1", "ServiceAccount", "default", "default")):
                return cluster
        time.sleep(0.3)
    raise AssertionError(f"no API server after {START_S} s; see {folder}")


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
