"""What pods of tenants reach: every listening port of every machine, pod and service, open or closed.

The table is read off the machines, so that it cannot go stale: what listens is asked of each network namespace.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hostile import GID, OTHER_SPACE, SPACE, UID, VO_SPACE, Tenant, kubectl
from hpc_machine import until
from machine import output_on

from primage.contract.names import LABEL_VO
from primage.local.images import storage

pytestmark = pytest.mark.alone

MACHINES = ("front", "worker-1", "hpc")
TRAINING = "training-dot-primage-dot-eu"
API = 6443
NAMES = "10.96.0.10"
"""The cluster's DNS service, which is open to every pod from its first instant."""
API_ACCESS = {"primage.eu/api-access": "true"}
ECHO = "import http.server; http.server.ThreadingHTTPServer(('', 8000), http.server.BaseHTTPRequestHandler).serve_forever()"
LISTENERS = """
look() { echo "== $1"; shift; "$@" ip -4 -o addr | awk '{print "A " $4}'; "$@" ss -Hltn | awk '{print "L " $4}'; }
look host
for space in /var/run/netns/cni-*; do [ -e "$space" ] && look pod nsenter --net="$space"; done
true
"""
SCAN = textwrap.dedent("""
    import asyncio, json, socket, sys, time
    limit, forever = asyncio.Semaphore(100), float(sys.argv[2])
    async def open_(host, port):
        async with limit:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 1.5)
                writer.close()
                return True
            except (OSError, asyncio.TimeoutError):
                return False
    def resolves():
        # A machine that has just started lets nothing through until kube-router has seen the pod; DNS may be starting as well.
        end = time.monotonic() + 90
        while time.monotonic() < end:
            try:
                socket.getaddrinfo("kubernetes.default.svc.cluster.local", 443)
                return True
            except OSError:
                time.sleep(1)
        return False
    async def main():
        targets, found, begun = json.loads(sys.argv[1]), set(), time.monotonic()
        while True:
            answers = await asyncio.gather(*(open_(host, port) for host, port in targets))
            found |= {tuple(target) for target, is_open in zip(targets, answers) if is_open}
            if time.monotonic() - begun >= forever:
                break
        print(json.dumps({"open": sorted(found), "resolves": resolves()}))
    asyncio.run(main())
""")


@dataclass(frozen=True)
class Place:
    """A port that something listens on: where, and whose it is (`host`, or a pod's name)."""

    address: str
    port: int
    owner: str


def on_machine(machine: str, script: str) -> str:
    return output_on(f"primage-local-{machine}", "bash", "-c", script)


def on_host() -> list[Place]:
    """What listens on this host, as the machines see it: at their network's gateway."""
    said = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, timeout=30, check=True).stdout
    ports = {
        int(line.split()[3].rpartition(":")[2]) for line in said.splitlines() if not line.split()[3].startswith(("127.", "[::1]"))
    }
    return [Place("10.89.77.1", port, "this host") for port in sorted({*ports, 53})]


def listening(machine: str) -> list[Place]:
    """What listens on a machine, and in the pods on it, on an address that is not a loopback's."""
    found = []
    for block in on_machine(machine, LISTENERS).split("== ")[1:]:
        owner, *lines = block.splitlines()
        addresses = [line[2:].partition("/")[0] for line in lines if line.startswith("A ") and not line.startswith("A 127.")]
        for line in (line[2:] for line in lines if line.startswith("L ")):
            host, _, port = line.rpartition(":")
            bound = host.strip("[]").partition("%")[0].removeprefix("::ffff:")
            if bound.startswith("127.") or bound == "::1":
                continue
            heard = addresses if bound in {"0.0.0.0", "*", "::"} else [bound]
            found += [Place(address, int(port), f"{machine}, {owner}") for address in heard]
    return sorted(set(found), key=lambda place: (place.address, place.port))


def services(kubeconfig: str) -> list[Place]:
    """Every port of every Service."""
    listed = json.loads(kubectl("get", "services", "-A", "-o", "json", kubeconfig=kubeconfig).stdout)["items"]
    return [
        Place(item["spec"]["clusterIP"], port["port"], f"service {item['metadata']['namespace']}/{item['metadata']['name']}")
        for item in listed
        if item["spec"].get("clusterIP") not in {None, "None"}
        for port in item["spec"].get("ports", [])
        if port["protocol"] == "TCP"
    ]


@dataclass(frozen=True)
class Kind:
    """A kind of pod of a tenant's, and what it may reach besides DNS."""

    namespace: str
    uid: int
    gid: int
    labels: dict[str, str]
    token: bool = False


KINDS = {
    "a member's pod": Kind(SPACE, UID, GID, {}),
    "a member's pod with a token": Kind(SPACE, UID, GID, API_ACCESS, token=True),
    "a member's pod that calls itself a queue": Kind(SPACE, UID, GID, {"primage.eu/queue": "x", "primage.eu/private": "true"}),
    "a VO's pod": Kind(VO_SPACE, 10001, 20001, {}),
    "another VO's pod": Kind(TRAINING, 10001, 20002, {}),
}


def knows_the_pods(node: str, admin: str) -> bool:
    """Whether a node's kube-router has the pods as they are now.

    Each of its sets of addresses is that of a policy. None has pods of two namespaces, but that of the gateway has all tenants'.
    """
    listed = json.loads(kubectl("get", "pods", "-A", "-o", "json", kubeconfig=admin).stdout)["items"]
    spaces = {
        pod["status"].get("podIP"): pod["metadata"]["namespace"]
        for pod in listed
        if pod["status"]["phase"] == "Running" and not pod["spec"].get("hostNetwork")
    }
    which = ("-l", "app.kubernetes.io/name=kube-router", f"--field-selector=spec.nodeName={node}")
    name = kubectl("get", "pods", "-n", "kube-system", *which, "-o", "name", kubeconfig=admin).stdout.strip()
    asked = kubectl("exec", "-n", "kube-system", name, "--", "ipset", "save", kubeconfig=admin)
    assert asked.returncode == 0, asked.stderr
    saved = asked.stdout.splitlines()
    sets: dict[str, set[str]] = {line.split()[1]: set() for line in saved if re.match(r"create KUBE-\S+ hash:ip ", line)}
    for line in saved:
        action, which, address = line.split()[:3]
        if action == "add" and which in sets:
            sets[which].add(address)
    known = {address for addresses in sets.values() for address in addresses}
    labelled = kubectl("get", "namespaces", "-l", LABEL_VO, "-o", "name", kubeconfig=admin).stdout.split()
    tenants = {address for address, space in spaces.items() if f"namespace/{space}" in labelled}
    return known == set(spaces) and all(
        len({spaces[address] for address in addresses}) < 2 or addresses == tenants for addresses in sets.values()
    )


class Pods:
    """Pods of any tenant, made by an operator."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    def manifest(self, name: str, kind: Kind, command: list[str], node: str = "") -> dict[str, Any]:
        pod = self._tenant.pod(name, "", labels=kind.labels)
        pod["metadata"]["namespace"] = kind.namespace
        pod["spec"]["containers"][0]["command"] = command
        pod["spec"]["securityContext"].update(
            runAsUser=kind.uid, runAsGroup=kind.gid, fsGroup=kind.gid, supplementalGroups=[kind.uid]
        )
        pod["spec"]["automountServiceAccountToken"] = kind.token
        if node:
            pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
        return pod

    def make(self, pod: dict[str, Any]) -> None:
        done = kubectl("create", "-f", "-", kubeconfig=self._tenant.admin, given=json.dumps(pod))
        assert done.returncode == 0, done.stderr

    def remove(self, pod: dict[str, Any], *, wait: bool = False) -> None:
        meta = pod["metadata"]
        kubectl(
            "delete",
            "pod",
            meta["name"],
            "-n",
            meta["namespace"],
            f"--wait={str(wait).lower()}",
            "--ignore-not-found",
            kubeconfig=self._tenant.admin,
        )

    def wait(self, pod: dict[str, Any], path: str, value: str, timeout_s: int = 180) -> None:
        meta = pod["metadata"]
        done = kubectl(
            "wait",
            f"pod/{meta['name']}",
            "-n",
            meta["namespace"],
            f"--for=jsonpath={path}={value}",
            f"--timeout={timeout_s}s",
            kubeconfig=self._tenant.admin,
        )
        assert done.returncode == 0, done.stderr

    def log(self, pod: dict[str, Any]) -> str:
        meta = pod["metadata"]
        return kubectl("logs", meta["name"], "-n", meta["namespace"], kubeconfig=self._tenant.admin).stdout


@pytest.fixture(scope="module")
def pods(tenant: Tenant) -> Pods:
    return Pods(tenant)


@pytest.fixture(scope="module")
def echoes(pods: Pods) -> Iterator[None]:
    """A pod that listens, in each tenant's namespace."""
    spaces = {
        SPACE: KINDS["a member's pod"],
        OTHER_SPACE: Kind(OTHER_SPACE, 40002, GID, {}),
        **{k.namespace: k for k in KINDS.values() if k.namespace in {VO_SPACE, TRAINING}},
    }
    made = [pods.manifest("ports-echo", Kind(k.namespace, k.uid, k.gid, {}), ["python3", "-c", ECHO]) for k in spaces.values()]
    for pod in made:
        pods.remove(pod, wait=True)
        pods.make(pod)
    for pod in made:
        pods.wait(pod, "{.status.phase}", "Running")
    yield
    for pod in made:
        pods.remove(pod)


@pytest.fixture(scope="module")
def table(echoes: None, tenant: Tenant) -> list[Place]:
    """Every listening port there is."""
    found = [*on_host(), *(place for machine in MACHINES for place in listening(machine)), *services(tenant.admin)]
    ports = {place.port for place in found}
    assert {22, 2379, 6443, 10250, 6817, 6818, 6820, 8000, 53} <= ports, (
        f"the table misses what is known to listen: {sorted(ports)}"
    )
    return found


def names(admin: str) -> set[tuple[str, int]]:
    """Where the cluster's DNS is: its service, and the pods behind it."""
    pods = json.loads(kubectl("get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", "json", kubeconfig=admin).stdout)
    return {(NAMES, 53), *((pod["status"].get("podIP"), 53) for pod in pods["items"])}


def allowed(kind: Kind, admin: str) -> set[tuple[str, int]]:
    """What a kind of pod is to reach: DNS, the pods of its own namespace, and with a token the API server."""
    listed = json.loads(kubectl("get", "pods", "-A", "-o", "json", kubeconfig=admin).stdout)["items"]
    own = [
        p["status"].get("podIP")
        for p in listed
        if p["metadata"]["namespace"] == kind.namespace and "primage.eu/private" not in (p["metadata"].get("labels") or {})
    ]
    api = {("10.89.77.11", API), ("10.96.0.1", 443)} if kind.token else set()
    return names(admin) | api | {(address, 8000) for address in own}


def scan(
    pods: Pods, kinds: dict[str, Kind], places: list[Place], *, forever: float = 4, node: str = ""
) -> dict[str, dict[str, Any]]:
    """By kind of pod, what it found open; all kinds at once."""
    targets = sorted({(place.address, place.port) for place in places})
    made = {
        name: pods.manifest(f"ports-{number}", kind, ["python3", "-c", SCAN, json.dumps(targets), str(forever)], node)
        for number, (name, kind) in enumerate(kinds.items())
    }
    try:
        for pod in made.values():
            pods.remove(pod, wait=True)
            pods.make(pod)
        for pod in made.values():
            pods.wait(pod, "{.status.phase}", "Succeeded")
        return {name: json.loads(pods.log(pod)) for name, pod in made.items()}
    finally:
        for pod in made.values():
            pods.remove(pod)


def opened(said: dict[str, Any]) -> set[tuple[str, int]]:
    return {(address, port) for address, port in said["open"]}


def test_every_forbidden_port_is_closed_and_every_needed_one_open(pods, tenant, table):
    said = scan(pods, KINDS, table)
    owners = {(place.address, place.port): place.owner for place in table}
    listed = {(place.address, place.port) for place in table}
    for name, kind in KINDS.items():
        wanted = allowed(kind, tenant.admin) & listed
        found = opened(said[name])
        assert {f"{name} reaches {owners[place]}: {place}" for place in found - wanted} == set()
        assert {f"{name} does not reach {owners[place]}: {place}" for place in wanted - found} == set()
        assert said[name]["resolves"], f"{name} has no DNS"
    cells = len(KINDS) * len(listed)
    print(f"{cells} cells: {sum(len(opened(s)) for s in said.values())} open, all named")


def test_a_pod_is_closed_from_its_first_instant(pods, tenant, table):
    first = {f"{name} {turn}": kind for turn in range(3) for name, kind in list(KINDS.items())[:1]}
    for name, found in scan(pods, first, table, forever=2.0).items():
        assert opened(found) <= allowed(KINDS[name[:-2]], tenant.admin)


def test_pods_stay_closed_while_kube_router_is_dead(pods, tenant, table):
    """Frozen rather than ended, since kubelet starts at once again what has ended."""
    kind = {"a member's pod": KINDS["a member's pod"]}
    on_machine("worker-1", "pkill --signal STOP --exact kube-router")
    try:
        (found,) = scan(pods, kind, table, forever=3.0, node="worker-1").values()
        assert opened(found) <= names(tenant.admin), "nothing lets a new pod through while kube-router does nothing"
    finally:
        on_machine("worker-1", "pkill --signal CONT --exact kube-router")
    on_machine("worker-1", "pkill --signal KILL --exact kube-router")
    (found,) = scan(pods, kind, table, node="worker-1").values()
    assert found["resolves"], "it is back, and lets through what it is to let through"
    assert opened(found) <= allowed(KINDS["a member's pod"], tenant.admin)


def test_pods_are_closed_after_a_machine_has_rebooted(pods, tenant, table):
    environment = {**os.environ, **storage.environment()}
    for action in ("kill", "start"):
        subprocess.run(["podman", action, "primage-local-worker-1"], capture_output=True, timeout=120, check=True, env=environment)
    end = time.monotonic() + 120
    while kubectl("wait", "node/worker-1", "--for=condition=Ready", "--timeout=5s", kubeconfig=tenant.admin).returncode:
        assert time.monotonic() < end, "worker-1 did not come back"
    # Nothing starts pods before the table is there.
    on_machine("worker-1", "until systemctl is-active --quiet kubelet; do sleep 0.2; done")
    assert "drop" in on_machine("worker-1", "nft list table inet primage_pods")
    (found,) = scan(pods, {"a member's pod": KINDS["a member's pod"]}, table, forever=5.0, node="worker-1").values()
    assert found["resolves"]
    assert opened(found) <= allowed(KINDS["a member's pod"], tenant.admin)


def test_routes_to_pods_are_kept_by_kube_router(tenant):
    """What a node that joins gets: no list of nodes is written into any machine."""
    for machine, other in (("front", "worker-1"), ("worker-1", "front")):
        subnet = kubectl("get", "node", other, "-o", "jsonpath={.spec.podCIDR}", kubeconfig=tenant.admin).stdout
        on_machine(machine, f"ip route delete {subnet} || true")
        end = time.monotonic() + 120
        on_machine(machine, "pkill --exact kube-router")
        while subnet not in on_machine(machine, "ip route"):
            assert time.monotonic() < end, f"{machine} has no route to the pods of {other}"
            time.sleep(0.5)
        assert on_machine(machine, "ls /etc/systemd/system | grep -c pod-routes || true").strip() == "0"


def test_pods_reach_those_of_a_node_that_has_joined_and_nothing_else(pods, tenant, site, cluster, tmp_path):
    """A member's pod on the node that was there all along, and one on the node that was removed and has joined anew."""
    command = [*site._ansible("remove-node", {"remove_node_confirmed": "worker-1"}), "--limit", "worker-1"]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    assert {node["metadata"]["name"] for node in cluster.list("v1", "Node")} == {"front"}
    site._cluster(tmp_path / "cluster.log", lambda *_: None)
    ready = kubectl("wait", "node/worker-1", "--for=condition=Ready", "--timeout=60s", kubeconfig=tenant.admin)
    assert ready.returncode == 0, ready.stderr
    kind = KINDS["a member's pod"]
    there = pods.manifest("ports-joined", kind, ["python3", "-c", ECHO], "worker-1")
    pods.make(there)
    try:
        pods.wait(there, "{.status.phase}", "Running")
        get = ("get", "pod", "ports-joined", "-n", SPACE, "-o", "jsonpath={.status.podIP}")
        address = kubectl(*get, kubeconfig=tenant.admin).stdout
        until("it listens", lambda: (address, 8000) in {(place.address, place.port) for place in listening("worker-1")})
        table = [*listening("front"), *listening("worker-1"), *services(tenant.admin)]
        nodes = ("front", "worker-1")
        until("each node knows whose each address is", lambda: all(knows_the_pods(node, tenant.admin) for node in nodes))
        # The other node learns of the pod that scans a moment after that runs; what is open then is judged each time.
        for _ in range(3):
            (found,) = scan(pods, {"a member's pod": kind}, table, forever=20.0, node="front").values()
            assert opened(found) <= allowed(kind, tenant.admin)
            if (address, 8000) in opened(found):
                break
        else:
            pytest.fail("it is not reached by its own namespace's pods")
    finally:
        pods.remove(there)
