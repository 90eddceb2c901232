"""The connector as a process of this machine, between a Kubernetes that is a few lines and an HPC centre that is a few more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from fake_api import NAMESPACE, VO, FakeApi
from home_server import HomeServer
from hpc_centre import Centre
from waiting import until

from primage.contract.hpc import log_file

ROOT = Path(__file__).resolve().parents[2]


class Local:
    """A namespace with HPC centres, and one connector after the other.

    Attributes:
        api, centre, home: its Kubernetes, its first centre, its HOME/private.
        centres: all of them, by the backend's name.
    """

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.home_server = HomeServer(folder)
        self.home = self.home_server.folder(VO)
        self.alive = folder / "alive"
        self.log = folder / "connector.log"
        self.api = FakeApi(folder)
        self.centres = {name: Centre(folder / name).start() for name in names or ("hpc",)}
        self.centre = next(iter(self.centres.values()))
        for name, centre in self.centres.items():
            self.api.secret(f"backend-{name}", centre.secret())
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, program: tuple[str, ...] = ("-m", "hpc_connector"), **environment: str) -> None:
        """Run the connector, with periods shortened; `environment` changes more."""
        self.stop_connector()
        env = {
            **os.environ,
            "KUBECONFIG": str(self.api.kubeconfig),
            "PYTHONPATH": str(ROOT / "services/hpc_connector"),
            "PRIMAGE_VO": VO,
            "PRIMAGE_HOME": str(self.home_server.socket),
            "PRIMAGE_ALIVE": str(self.alive),
            "PRIMAGE_BACKENDS": json.dumps([centre.backend(name) for name, centre in self.centres.items()]),
            "PRIMAGE_IDLE_S": "0.5",
            "PRIMAGE_BEAT_S": "0.2",
            **environment,
        }
        with self.log.open("a") as stream:
            self.process = subprocess.Popen([sys.executable, *program], env=env, stdout=stream, stderr=stream)

    def stop_connector(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    def stop(self) -> None:
        self.stop_connector()
        self.home_server.stop()
        self.api.stop()
        for centre in self.centres.values():
            centre.stop()

    def give(self, path: Path) -> None:
        """Have what a test made in HOME belong to whom HOME belongs to, with the folders that it is in."""
        owner = self.home.stat()
        for made in (path, *path.parents):
            if made == self.home:
                return
            os.chown(made, owner.st_uid, owner.st_gid)

    def ends(self, name: str, wanted: str = "Complete", space: str = NAMESPACE) -> tuple[str, str]:
        """Wait for a job's end; returns its reason and message."""
        until(f"{name} ends", lambda: self.api.condition(name, space))
        assert self.api.condition(name, space) == wanted, self.api.said(name, space)
        return self.api.said(name, space)

    def output(self, name: str, uid: str, attempt: int = 1) -> str:
        return (self.home / log_file(name, uid, attempt)).read_text(errors="replace")

    def runs(self) -> bool:
        """Whether the connector still does."""
        assert self.process
        return self.process.poll() is None

    def memory_mib(self) -> float:
        """The most the connector ever had in memory."""
        assert self.process
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
