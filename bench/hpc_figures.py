"""What carrying a job to Slurm costs over plain sbatch, and what a thousand jobs in flight cost.

Run with the name of a file, this is the connector itself, which writes there what it has used so far.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests/helpers"))

from home_server import HomeServer  # noqa: E402

from primage.clients.cluster import Cluster, Ref  # noqa: E402
from primage.clients.ssh import LoginNode  # noqa: E402
from primage.contract.hpc import describe  # noqa: E402
from primage.contract.hpc_centres import HpcBackendConfig  # noqa: E402
from primage.contract.names import LABEL_MADE_BY, LABEL_VO, MADE_BY_SITE  # noqa: E402
from primage.engine.api import Options  # noqa: E402
from primage.engine.embedded.engine import EmbeddedEngine  # noqa: E402
from primage.operations.site import usual_site  # noqa: E402
from primage.paths import local_site_dir  # noqa: E402
from primage.projects.project import parse_stack_name  # noqa: E402

STACK = parse_stack_name("hpc/vo.primage.eu.local--bench")
JOB = Ref("batch/v1", "Job", "bench-bench", "vo-dot-primage-dot-eu")
HOME = Path("/var/lib/primage/local/shared/home/vo.primage.eu/private/vo.primage.eu")
SCRIPT = "date +%s.%N; date +%s.%N"
VO, OTHER_VO = "vo.primage.eu", "training.primage.eu"
ACCOUNTS = {VO: "vo20001", OTHER_VO: "vo20002"}
ADDRESS = "10.89.77.13"
SPACE = "primage-bench-hpc"
IN_FLIGHT = 1000
RUNS = 7
TURNS = 5


def on_hpc(whose: str, script: str) -> str:
    """A script on the HPC machine, by an SSH login to a VO's account."""
    folder = local_site_dir() / "ssh"
    node = LoginNode(ADDRESS, ACCOUNTS[whose], folder / f"hpc-{whose}", folder / "known_hosts")
    return node.say(script, timeout_s=300)


def ours(engine: EmbeddedEngine, cluster: Cluster) -> tuple[float, float]:
    """Submitting to the first instruction, and the last to the end being seen, through app hpc."""
    job = {"name": "bench", "host": "hpc", "script": SCRIPT, "memory": "32Mi"}
    timing = engine.up(STACK, Options(overrides={"job": job})).timings[str(JOB)]
    uid = (cluster.get(JOB) or {})["metadata"]["uid"]
    first, last = map(float, (HOME / f"jobs/bench-bench/{uid[:8]}/1.log").read_text().split()[:2])
    engine.destroy(STACK, Options())
    return first - timing["submitted"], timing["ready"] - last


def plain() -> tuple[float, float]:
    """The same by `sbatch --wait` on the login node itself."""
    batch = f"echo '#!/bin/sh\n{SCRIPT}' | sbatch --wait --mem=32M --output=bench.out"
    submit = f"date +%s.%N; {batch} > /dev/null; date +%s.%N; cat bench.out"
    submitted, seen, first, last = map(float, on_hpc(VO, submit).split()[:4])
    return first - submitted, seen - last


def overheads(engine: EmbeddedEngine, cluster: Cluster) -> dict[str, float]:
    """Ours and plain ones in turn, so that a slow moment hits both."""
    pairs = [(ours(engine, cluster), plain()) for _ in range(RUNS + 1)][1:]
    return {
        "hpc_start_s": round(statistics.median(own[0] for own, _ in pairs), 3),
        "hpc_end_seen_s": round(statistics.median(own[1] for own, _ in pairs), 3),
        "sbatch_start_s": round(statistics.median(other[0] for _, other in pairs), 3),
        "sbatch_end_seen_s": round(statistics.median(other[1] for _, other in pairs), 3),
        "hpc_submit_overhead_s": round(statistics.median(sum(own) - sum(other) for own, other in pairs), 3),
    }


def in_flight(cluster: Cluster) -> dict[str, float]:
    """A connector of its own namespace with many jobs that wait in Slurm: memory, and login commands for each look at them."""
    labels = {LABEL_VO: SPACE, LABEL_MADE_BY: MADE_BY_SITE}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE, "labels": labels}}
    with tempfile.TemporaryDirectory(prefix="primage-bench-") as text:
        folder = Path(text)
        try:
            cluster.apply(space, manager="bench")
            _backend(cluster)
            for number in range(IN_FLIGHT):
                cluster.apply(_job(number), manager="bench")
            return _measure(folder)
        finally:
            on_hpc(OTHER_VO, "scancel --me; rm -rf /scratch/$(id -un)/primage/*")
            for job in cluster.list("batch/v1", "Job", SPACE):
                cluster.patch(
                    Ref.of({"apiVersion": "batch/v1", "kind": "Job", **job}), {"metadata": {"finalizers": None}}, manager="bench"
                )
            cluster.delete(Ref("v1", "Namespace", SPACE))


def _measure(folder: Path) -> dict[str, float]:
    figures = folder / "figures.json"
    home = HomeServer(folder)
    home.folder(SPACE)
    environment = {
        **os.environ,
        "KUBECONFIG": "/var/lib/primage/local/kubeconfig",
        "PRIMAGE_BACKENDS": _backends(),
        "PRIMAGE_HOME": str(home.socket),
    }
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, __file__, str(figures)], env=environment, stderr=subprocess.DEVNULL)
    try:
        found = _read(figures, lambda now: now["followed"] == IN_FLIGHT)
        took = time.monotonic() - started
        later = _read(figures, lambda now: now["looks"] >= found["looks"] + TURNS)
        commands = (later["commands"] - found["commands"]) / (later["looks"] - found["looks"])
        return {
            "hpc_jobs_in_flight": IN_FLIGHT,
            "hpc_submissions_per_s": round(IN_FLIGHT / took, 1),
            "hpc_login_commands_per_poll": round(commands, 2),
            "hpc_connector_memory_mib": round(later["rss"] / 2**20, 1),
        }
    finally:
        process.kill()
        process.wait(timeout=30)
        home.stop()


def _read(path: Path, enough: object) -> dict[str, float]:
    end = time.monotonic() + 600
    while time.monotonic() < end:
        try:
            found: dict[str, float] = json.loads(path.read_text())
        except (OSError, ValueError):
            found = {}
        if found and enough(found):  # type: ignore[operator]
            return found
        time.sleep(0.5)
    raise TimeoutError(f"not within 600 s: {found}")


def _backends() -> str:
    """The site's HPC centre, looked at at the pace a real one is."""
    site = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text())["config"]["primage:site"]
    found = next(backend for backend in site["hpc"]["backends"] if backend["name"] == "hpc")
    return describe([replace(HpcBackendConfig.model_validate(found).for_connector(OTHER_VO), poll_s=2)])


def _backend(cluster: Cluster) -> None:
    """The second VO's account."""
    found = cluster.get(Ref("v1", "Secret", "backend-hpc", "training-dot-primage-dot-eu")) or {}
    meta = {"name": "backend-hpc", "namespace": SPACE}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": found["data"]}, manager="bench")
    script = {"monitoring_period": "15", "job": json.dumps({"host": "hpc", "script": "sleep 86400"})}
    meta = {"name": "sleep", "namespace": SPACE}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": script}, manager="bench")


def _job(number: int) -> dict[str, object]:
    container = {"name": "job", "image": "hpc.primage.eu/none", "resources": {"requests": {"cpu": "1", "memory": "32Mi"}}}
    template = {
        "metadata": {"annotations": {"hpc.primage.eu/job": "sleep"}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    meta = {"name": f"sleep-{number}", "namespace": SPACE}
    spec = {"managedBy": "hpc.primage.eu/connector", "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def figures() -> dict[str, float]:
    """All of them, by name."""
    engine = EmbeddedEngine()
    cluster = usual_site().cluster
    engine.destroy(STACK, Options())
    return {**overheads(engine, cluster), **in_flight(cluster)}


async def connector(path: Path) -> None:
    """The connector, and beside it a task that writes down what it uses."""
    import resource

    from hpc_connector.clients.home import Home
    from hpc_connector.clients.kube import Kube, connect
    from hpc_connector.clients.shares import Shares
    from hpc_connector.connector import Connector
    from hpc_connector.domain.tenant import Tenant
    from primage.contract.hpc import backends_of

    known, shares = backends_of(os.environ["PRIMAGE_BACKENDS"]), Shares()
    kube = Kube(connect(), Tenant(SPACE, SPACE, SPACE), shares)
    own = Connector(kube, Home(Path(os.environ["PRIMAGE_HOME"]), SPACE), known, shares)

    async def note() -> None:
        while True:
            await asyncio.sleep(1)
            for monitor in own.monitors.values():
                now = {"commands": monitor.transport.commands, "looks": monitor.looks, "followed": monitor.followed}
                # The most it ever had, not what it happens to have now.
                memory = {"rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
                path.with_suffix(".part").write_text(json.dumps({**now, **memory}))
                path.with_suffix(".part").replace(path)

    await asyncio.gather(own.run(), note())


if __name__ == "__main__":
    asyncio.run(connector(Path(sys.argv[1])))
