"""The local HPC machine, and a connector of this machine that may be killed, frozen and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import waiting
import yaml
from home_server import HomeServer
from machine import run_on

from primage.clients.cluster import Cluster, Ref
from primage.contract.hpc import describe
from primage.contract.hpc_centres import HpcBackendConfig
from primage.kubernetes.waiting import events_of
from primage.local.images import storage

HERE = Path(__file__).parent
MACHINE = "primage-local-hpc"
OTHER_VO = "training-dot-primage-dot-eu"
OTHER_GID = 20002
OTHER_HOME = Path("/var/lib/primage/local/shared/home/training.primage.eu/private/training.primage.eu")
WAIT_S = 240


def on_hpc(script: str, user: str = "root", *, check: bool = True) -> str:
    """Run a script on the HPC machine."""
    done = run_on(MACHINE, "bash", "-c", script, user=user)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr * (not check)


BATCH_START_S = 25
"""How old a batch job must be for Slurm to miss it when its node registers: BatchStartTimeout and MessageTimeout, 10 s each."""


def reboot_hpc(running_since: float) -> None:
    """Power off without warning, and on again.

    Args:
        running_since: when the job under test was seen to run, of the monotonic clock. A younger job than BATCH_START_S is
            taken for one that is just being started, and missed only at the node's next registration, minutes later.
    """
    environment = {**os.environ, **storage.environment()}
    power = partial(subprocess.run, capture_output=True, timeout=120, check=True, env=environment)
    power(["podman", "kill", "--signal", "KILL", MACHINE])
    until("the job is old enough to be missed", lambda: time.monotonic() - running_since > BATCH_START_S)
    power(["podman", "start", MACHINE])
    until("the HPC machine is back", lambda: "slurmctld" in on_hpc("ps -eo comm", check=False))


def slurm_jobs(uid: str) -> list[tuple[str, str]]:
    """Slurm's number and state of everything that was ever submitted for a Job and is remembered."""
    lines = on_hpc("squeue --states=all --noheader --format='%A|%T|%k'").splitlines()
    return [(line.split("|")[0], line.split("|")[1]) for line in lines if f":{uid}:" in line.split("|")[2]]


def until(what: str, probe, timeout_s: float = WAIT_S):
    """The first true answer of a probe of the site, where everything takes longer."""
    return waiting.until(what, probe, timeout_s, pause_s=0.2)


class Jobs:
    """HPC jobs made by hand in the second VO's namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.made: list[Ref] = []

    def start(self, name: str, script: str, **more) -> Ref:
        job = {key: more.pop(key) for key in ("inputs", "outputs", "partition") if key in more}
        data = {"monitoring_period": "5", "job": json.dumps({"host": more.pop("host", "hpc"), "script": script, **job})}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": OTHER_VO}, "data": data},
            manager="test",
        )
        resources = {"requests": more.pop("requests", {"cpu": "1", "memory": "64Mi"})}
        container = {"name": "job", "image": "hpc.primage.eu/none", "resources": resources, "env": more.pop("env", [])}
        annotations = {"hpc.primage.eu/job": name}
        spec = {
            "managedBy": "hpc.primage.eu/connector",
            "backoffLimit": 2,
            "activeDeadlineSeconds": 600,
            **more,
            "template": {"metadata": {"annotations": annotations}, "spec": {"restartPolicy": "Never", "containers": [container]}},
        }
        self.cluster.apply(
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": OTHER_VO}, "spec": spec},
            manager="test",
        )
        ref = Ref("batch/v1", "Job", name, OTHER_VO)
        self.made.append(ref)
        return ref

    def live(self, ref: Ref):
        return self.cluster.get(ref) or {}

    def uid(self, ref: Ref) -> str:
        return self.live(ref)["metadata"]["uid"]

    def condition(self, ref: Ref) -> str:
        """`Complete`, `Failed`, or nothing."""
        conditions = self.live(ref).get("status", {}).get("conditions") or []
        return next((c["type"] for c in conditions if c["type"] in {"Complete", "Failed"} and c["status"] == "True"), "")

    def reasons(self, ref: Ref) -> set[str]:
        return {event.get("reason") for event in events_of(self.cluster, ref)}

    def wait(self, ref: Ref, wanted: str = "Complete") -> None:
        until(f"{ref} ends", lambda: self.condition(ref))
        assert self.condition(ref) == wanted, self.live(ref)["status"]

    def clear(self) -> None:
        """Remove the jobs and their descriptions: what is still on its way out takes the next one of its name along."""
        made = [*self.made, *(Ref("v1", "ConfigMap", ref.name, OTHER_VO) for ref in self.made)]
        for ref in made:
            self.cluster.delete(ref)
        until("the jobs are gone", lambda: not any(self.cluster.get(ref) for ref in made))


def backends(vo: str, **more: object) -> str:
    """The local site's HPC centres as a VO's connector is told of them; `more` replaces parts of each."""
    site = yaml.safe_load((HERE.parents[1] / "Pulumi.local.yaml").read_text())["config"]["primage:site"]
    known = [HpcBackendConfig.model_validate(backend) for backend in site["hpc"]["backends"]]
    return describe([replace(backend.for_connector(vo), **more) for backend in known if vo in backend.vos])


NEVER = "never"
"""The point at which a connector that is to last kills itself."""


class Connector:
    """One run of the connector after the other, as a process of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.private = folder, OTHER_HOME.parent
        self._home: HomeServer | None = None
        self.process: subprocess.Popen | None = None
        self._point = NEVER

    def start(self, point: str = NEVER, **environment: str) -> Connector:
        self.stop()
        self._point = point
        self._home = self._home or HomeServer(self.folder, self.private, OTHER_GID)
        env = {
            **os.environ,
            "KUBECONFIG": "/var/lib/primage/local/kubeconfig",
            "PRIMAGE_VO": OTHER_HOME.name,
            "PRIMAGE_BACKENDS": backends(OTHER_HOME.name),
            "PRIMAGE_HOME": str(self._home.socket),
            "PRIMAGE_ALIVE": str(self.folder / "alive"),
            "PYTHONPATH": str(HERE.parents[1] / "services/hpc_connector"),
            **environment,
        }
        with (self.folder / "connector.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "hpc_connector_that_dies.py"), point], env=env, stdout=log, stderr=log
            )
        return self

    def signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def died(self) -> None:
        """Wait until it has killed itself."""
        assert self.process
        assert self.process.wait(timeout=WAIT_S) == -signal.SIGKILL

    @property
    def lasts(self) -> bool:
        """Whether it runs, and is not to kill itself somewhere."""
        return self._point == NEVER and self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=30)

    def close(self) -> None:
        """End it, and what reads and writes HOME for it."""
        self.stop()
        if self._home:
            self._home.stop()
            self._home = None
