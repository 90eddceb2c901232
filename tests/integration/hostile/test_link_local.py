"""IPv6 on the pods' bridge: pods have link-local addresses there that nobody gave them, and no network policy names them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from machine import output_on

NODES = ("front", "worker-1")
PROBE = """
own=$(awk '$6 == "eth0" && $4 == "20" {{print $1}}' /proc/net/if_inet6 | sed 's/..../&:/g; s/:$//')
python3 -m http.server --bind :: 8999 > /dev/null 2>&1 &
for try in $(seq 50); do
  timeout 2 bash -c "exec 3<>/dev/tcp/$own%eth0/8999" 2>/dev/null && echo "own open" && break
  sleep 0.2
done
for port in {ports}; do
  if timeout 2 bash -c "exec 3<>/dev/tcp/{address}%eth0/$port" 2>/dev/null; then echo "$port open"; else echo "$port closed"; fi
done
"""


def on_machine(name: str, *command: str) -> str:
    return output_on(f"primage-local-{name}", *command)


def listening(name: str) -> list[str]:
    """Every TCP port of a machine that listens on all its IPv6 addresses."""
    lines = [line.split()[3] for line in on_machine(name, "ss", "-ltnH").splitlines()]
    return sorted({local.rpartition(":")[2] for local in lines if local.rpartition(":")[0] in ("*", "[::]")}, key=int)


def pod_on(tenant: Any, node: str, name: str, script: str) -> str:
    return tenant.says(tenant.pod(name, script, nodeSelector={"kubernetes.io/hostname": node}))


@pytest.mark.parametrize("node", NODES)
def test_a_pod_does_not_reach_its_node_by_the_bridges_link_local_address(tenant, node):
    pod_on(tenant, node, "first", "true")  # the bridge is there once a pod has been
    shown = on_machine(node, "ip", "-6", "-oneline", "address", "show", "dev", "cni0", "scope", "link")
    found = re.search(r"inet6 (fe80::[0-9a-f:]+)/", shown)
    if found is None:
        return  # no such address at all is as good
    ports = listening(node)
    assert {"22", "10250"} <= set(ports), "the list is not of a node"
    said = pod_on(tenant, node, "neighbour", PROBE.format(ports=" ".join(ports), address=found[1]))
    own, *others = said.split("\n")[:-1]
    assert own == "own open", "a pod finds what is open at such an address"
    assert others == [f"{port} closed" for port in ports]
