"""What a member could use up: a node's processes, and the disk of the control plane."""

import json
import re
import time
import uuid

from machine import output_on

from primage.clients.cluster import Cluster, Ref

NODE = "worker-1"
ON_NODE = {"nodeSelector": {"kubernetes.io/hostname": NODE}}
# Starts processes until it is refused one, and goes on trying while another pod is to start.
FORKS = """
import os, time
children, refused, end = 0, 0, time.monotonic() + 60
while time.monotonic() < end and not os.path.exists('/tmp/enough'):
    try:
        if os.fork() == 0:
            time.sleep(90)
            os._exit(0)
        children += 1
    except OSError:
        refused += 1
        print('refused after', children, flush=True) if refused == 1 else time.sleep(0.001)
"""


def on(machine, script):
    return output_on(f"primage-local-{machine}", "bash", "-c", script)


def settings_of(cluster: Cluster, node: str) -> dict:
    """The settings that kubelet runs with, as it tells them itself."""
    return json.loads(cluster.raw(f"/api/v1/nodes/{node}/proxy/configz"))["kubeletconfig"]


def ready(cluster: Cluster, node: str) -> bool:
    conditions = cluster.get(Ref("v1", "Node", node))["status"]["conditions"]
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def test_every_node_runs_with_limits_that_fit_into_its_machine(site, cluster):
    for node in ("front", NODE):
        settings = settings_of(cluster, node)
        processes = int(on(node, "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true"))
        assert 0 < settings["podPidsLimit"] * settings["maxPods"] < processes
        assert settings["systemReserved"]["memory"]
        assert settings["kubeReserved"]["memory"]
        assert settings["enforceNodeAllocatable"] == ["pods"]
        assert settings["evictionHard"]["memory.available"] == "100Mi"
        assert settings["containerLogMaxSize"] == "10Mi"
        assert settings["containerLogMaxFiles"] == 5
        status = cluster.get(Ref("v1", "Node", node))["status"]
        assert status["allocatable"]["memory"] != status["capacity"]["memory"]


def test_a_pod_that_forks_without_end_is_stopped_and_its_node_goes_on(tenant, cluster):
    limit = settings_of(cluster, NODE)["podPidsLimit"]
    bomb = tenant.pod("forks", f'exec python3 -c "{FORKS}"', **ON_NODE)
    bomb["spec"]["containers"][0]["resources"]["limits"]["memory"] = "1Gi"  # memory is not to be what stops it
    made = tenant.apply(bomb)
    assert made.returncode == 0, made.stderr
    try:
        said, end = "", time.monotonic() + 60
        while "refused" not in said:
            assert time.monotonic() < end, f"it was refused nothing; its node is ready: {ready(cluster, NODE)}"
            time.sleep(0.2)
            said = tenant.cluster.logs(tenant.namespace, "forks")
        processes = int(re.search(r"refused after (\d+)", said)[1])
        assert limit * 0.9 < processes < limit, "the pod's own first process and its sandbox's are the rest"
        beside = tenant.pod("beside", "echo started", **ON_NODE)
        assert tenant.says(beside, timeout_s=60) == "started\n"
        assert tenant.try_to("get", "pod", "forks", "-o", "jsonpath={.status.phase}").stdout == "Running", (
            "it ended before the other began"
        )
        assert ready(cluster, NODE)
    finally:
        tenant.try_to("delete", "pod", "forks", "--wait=true", "--ignore-not-found")


def test_the_audit_log_has_a_bound(site):
    said = on("front", "tr '\\0' '\\n' < /proc/$(pgrep --exact kube-apiserver)/cmdline")
    flags = dict(line.removeprefix("--").split("=", 1) for line in said.splitlines() if "=" in line)
    files, size = int(flags["audit-log-maxbackup"]), int(flags["audit-log-maxsize"])
    assert files > 0
    assert (files + 1) * size <= 1100, "MiB"
    assert int(flags["audit-log-maxage"]) > 0


def test_large_bodies_of_a_member_are_refused_and_not_logged(tenant):
    """2.5 MB is read and refused by its content, 5 MB by its size; both were written into the log as they came."""
    for megabytes in (2.5, 5):
        mark = f"mark-{uuid.uuid4()}"
        pod = tenant.pod("large", "true")
        pod["metadata"]["annotations"] = {"large": mark + "x" * int(megabytes * 1e6)}
        assert tenant.apply(pod).returncode != 0
        logged = on(
            "front",
            f"grep --recursive --count {mark} /var/log/kubernetes | cut --delimiter : --fields 2 | paste --serial --delimiters +",
        )
        assert sum(map(int, logged.split("+"))) == 0
    who = f"system:serviceaccount:{tenant.namespace}:hostile"
    lengths = on(
        "front", f'grep --recursive --no-filename {who} /var/log/kubernetes | awk \'/"verb":"create"/ {{print length}}\' | sort -n'
    )
    assert lengths.split(), "that the member asked is logged"
    assert int(lengths.split()[-1]) < 16_000
