"""What the HPC connector of a VO with many members takes, most of whom do nothing: on a control plane of its own, with the tests'
helpers.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests/helpers"))

from control_plane import control_plane  # noqa: E402
from home_server import HomeServer  # noqa: E402
from hpc_centre import Centre  # noqa: E402
from waiting import define_kinds, until  # noqa: E402

from primage.clients.cluster import Cluster, Object, Ref  # noqa: E402
from primage.contract import custom_resources as custom  # noqa: E402
from primage.contract.names import LABEL_MADE_BY, MADE_BY_SITE  # noqa: E402
from primage.contract.tenant import Tenant  # noqa: E402
from primage.contract.vo import MemberSpec, QuotaConfig, VirtualOrganisationSpec  # noqa: E402
from primage.local.toolchain.build import KUBERNETES_TOOLS  # noqa: E402

MEMBERS, BUSY = 100, 5
LIMIT_S, STEADY_S = 300, 60
VO = VirtualOrganisationSpec(name="vo.example.org", gid=20001, quota=QuotaConfig(cpu="4", memory="8Gi"))


def figures() -> dict[str, float]:
    """Memory with nobody but the VO, and with its members, of whom a few have a job at the centre and the others nothing."""
    with tempfile.TemporaryDirectory(prefix="primage-bench-") as place:
        folder = Path(place)
        centre = Centre(folder / "centre").start()
        with control_plane(KUBERNETES_TOOLS.build(folder / "build.log", lambda *_: None), folder) as kubeconfig:
            cluster = Cluster(kubeconfig)
            define_kinds(cluster, "bench")
            _space(cluster, Tenant(VO))
            alone = _measured(kubeconfig, folder, centre, 1, lambda: None)
            tenants = [_member(cluster, number) for number in range(MEMBERS)]
            together = _measured(kubeconfig, folder, centre, MEMBERS + 1, lambda: _busy(cluster, centre, tenants))
        centre.stop()
        return {
            "hpc_connector_1_tenant_mib": alone["connector"],
            "hpc_connector_100_members_mib": together["connector"],
            "hpc_home_100_members_mib": together["home"],
        }


def _space(cluster: Cluster, tenant: Tenant) -> None:
    labels = {**tenant.labels, LABEL_MADE_BY: MADE_BY_SITE}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant.namespace, "labels": labels}}
    cluster.apply(space, manager="bench")


def _member(cluster: Cluster, number: int) -> Tenant:
    tenant = Tenant(VO, MemberSpec(identity=f"member{number}@example.org", uid=50_000 + number))
    assert tenant.member
    _space(cluster, tenant)
    ref = Ref.of(cluster.apply(custom.member(VO.name, tenant.member), manager="bench"))
    status = json.dumps({"status": {"namespace": tenant.namespace}})
    cluster._call("PATCH", f"{cluster._path(ref)}/status", None, status, content_type="application/merge-patch+json")
    return tenant


def _busy(cluster: Cluster, centre: Centre, tenants: list[Tenant]) -> None:
    """A few have credentials, and a job that goes on."""
    secret = {key: base64.b64encode(value).decode() for key, value in centre.secret().items()}
    script = {"job": json.dumps({"host": "hpc", "script": "sleep 600"})}
    for tenant in tenants[:BUSY]:
        for kind, name, data in (("Secret", "backend-hpc", secret), ("ConfigMap", "job", script)):
            metadata = {"name": name, "namespace": tenant.namespace}
            cluster.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}, manager="bench")
        cluster.apply(_job(tenant.namespace), manager="bench")


def _job(namespace: str) -> Object:
    container = {"name": "job", "image": "hpc.primage.eu/none"}
    template = {
        "metadata": {"annotations": {"hpc.primage.eu/job": "job"}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    spec = {"managedBy": "hpc.primage.eu/connector", "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", "namespace": namespace}, "spec": spec}


def _measured(kubeconfig: str, folder: Path, centre: Centre, tenants: int, begin: Callable[[], None]) -> dict[str, float]:
    """The most that the connector and what reads HOME for it ever had, MiB, after some time in which all are served."""
    own = folder / str(tenants)
    own.mkdir()
    home = HomeServer(own)
    for name in (VO.name, *(f"member{number}@example.org" for number in range(tenants - 1))):
        home.folder(name)
    environment = {
        **os.environ,
        "KUBECONFIG": kubeconfig,
        "PRIMAGE_VO": VO.name,
        "PRIMAGE_BACKENDS": json.dumps([centre.backend()]),
        "PRIMAGE_HOME": str(home.socket),
        "PRIMAGE_ALIVE": str(own / "alive"),
    }
    log = own / "connector.log"
    with log.open("w") as stream:
        process = subprocess.Popen([sys.executable, "-m", "hpc_connector"], env=environment, stderr=stream)
    try:
        until("all are served", lambda: log.read_text().count(": served") == tenants, LIMIT_S, 0.5)
        begin()
        until("their jobs are at the centre", lambda: len(centre.jobs()) == (BUSY if tenants > 1 else 0), LIMIT_S, 0.5)
        time.sleep(STEADY_S)
        return {"connector": _peak(process.pid), "home": _peak(home.process.pid)}
    finally:
        process.kill()
        process.wait(30)
        home.stop()


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1)


if __name__ == "__main__":
    print(json.dumps(figures(), indent=2))
