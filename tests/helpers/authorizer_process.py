"""The authorizer on this machine, as its pod has it: one process with a kubeconfig, another that makes folders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from primage.contract.audit import Line
from primage.contract.names import AUDIT_FOLDER, AUDIT_VOLUME, SYSTEM_NAMESPACE

ROOT = Path(__file__).resolve().parents[2]
LOG = f"{AUDIT_VOLUME}/{AUDIT_FOLDER}"
PATHS = f"{ROOT / 'services/authorizer'}{os.pathsep}{ROOT}"


@dataclass
class AuthorizerProcess:
    """Both processes.

    Attributes:
        volumes: a folder with the roots of the shared volumes.
        environment: of the one with the kubeconfig, beside what it always has.
    """

    kubeconfig: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def volumes(self) -> Path:
        return self.folder / "volumes"

    def start(self) -> None:
        """Start what does not run."""
        socket = self.folder / "folders"
        for name in ("datalake", "home"):
            (self.volumes / name).mkdir(parents=True, exist_ok=True)
        self._start("folders", ["authorizer.folders", str(socket), str(self.volumes), LOG], {})
        given = {
            "KUBECONFIG": self.kubeconfig,
            "PRIMAGE_NAMESPACE": SYSTEM_NAMESPACE,
            "PRIMAGE_FOLDERS": str(socket),
            "PRIMAGE_ALIVE": str(self.folder / "alive"),
        }
        self._start("authorizer", ["authorizer"], {**given, **self.environment})

    def _start(self, name: str, module: list[str], environment: dict[str, str]) -> None:
        found = self._running.get(name)
        if found and found.poll() is None:
            return
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", *module],
                env={**os.environ, "PYTHONPATH": PATHS, **environment},
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def pid(self, name: str = "authorizer") -> int:
        """Of one of the two."""
        return self._running[name].pid

    def kill(self, name: str = "authorizer") -> None:
        """End one of the two at once, wherever it is."""
        self._running[name].kill()
        self._running[name].wait()

    def stop(self) -> None:
        """End both."""
        for name in list(self._running):
            self.kill(name)

    def audited(self) -> list[Line]:
        """The lines that it has written to the audit log."""
        files = sorted((self.volumes / LOG).glob("rights-*.jsonl"))
        return [Line.model_validate_json(line) for file in files for line in file.read_text().splitlines()]

    def log(self) -> str:
        """What the authorizer has said."""
        return (self.folder / "authorizer.log").read_text()


@contextmanager
def authorizer(kubeconfig: str, folder: Path, **environment: str) -> Iterator[AuthorizerProcess]:
    """Both, while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    made = AuthorizerProcess(kubeconfig, folder, environment)
    try:
        made.start()
        yield made
    finally:
        made.stop()
