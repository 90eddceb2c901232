"""What reads and writes HOME for a connector, as a process of this machine, and HOME as the transports see it, without one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from hpc_connector.home.files import Files

ROOT = Path(__file__).resolve().parents[2]
VO_UID, VO_GID = (10001, 20001) if os.getuid() == 0 else (os.getuid(), os.getgid())


class HomeServer:
    """`python -m hpc_connector.home` for the private folders of a VO.

    Attributes:
        private: the folder that they are in.
        socket: where it listens.
    """

    def __init__(self, folder: Path, private: Path | None = None, vo_gid: int = VO_GID) -> None:
        self.private = private or folder / "private"
        self.private.mkdir(exist_ok=True)
        self.socket = folder / "home.socket"
        command = [sys.executable, "-m", "hpc_connector.home", self.socket, self.private, str(VO_UID), str(vo_gid)]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'services/hpc_connector'}:{ROOT}"}
        with (folder / "home.log").open("a") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while not self._listens():
            assert time.monotonic() < end
            time.sleep(0.02)

    def _listens(self) -> bool:
        """A server that was killed leaves its socket behind."""
        with socket.socket(socket.AF_UNIX) as asking:
            if asking.connect_ex(str(self.socket)):
                return False
            asking.shutdown(socket.SHUT_WR)
            return asking.recv(1) == b""

    def folder(self, name: str, uid: int = VO_UID) -> Path:
        """Somebody's private folder, made as the authorizer makes it."""
        made = self.private / name
        made.mkdir()
        os.chown(made, uid, uid if uid != VO_UID else VO_GID)
        made.chmod(0o2770)
        return made

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(30)


class LocalHome:
    """A folder as a `Home`, in this process."""

    def __init__(self, folder: Path) -> None:
        self._files = Files(os.open(folder, os.O_PATH))

    def __getattr__(self, name: str):
        operation = getattr(self._files, name)

        async def do(*arguments):
            return operation(*arguments)

        return do
