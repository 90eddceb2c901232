"""Whether somebody listens at a port, asked inside a pod or on a machine: in the same words, so that one answer shows what another
is worth.
"""

from __future__ import annotations

from machine import output_on

from primage.clients.cluster import Cluster, Object, Ref


def from_pod(cluster: Cluster, pod: Object, host: str, port: int) -> str:
    """`open` or `closed`, as the pod's first container finds it."""
    about = pod["metadata"]
    code, said, why = cluster.execute(Ref("v1", "Pod", about["name"], about["namespace"]), _asked(host, port))
    assert code == 0, why
    return said.strip()


def from_machine(machine: str, host: str, port: int) -> str:
    """The same, as a machine of the site finds it."""
    return output_on(f"primage-local-{machine}", *_asked(host, port)).strip()


def _asked(host: str, port: int) -> list[str]:
    return ["bash", "-c", f"timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2> /dev/null && echo open || echo closed"]
