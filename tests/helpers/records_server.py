"""A server of the records' protocol for tests, which can be ended as by a power cut: FerretDB where the local site has built it, as
the site's own records are; NX-27017 otherwise. Both keep all in SQLite files, and are reached on the loopback only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from waiting import until

CACHE = Path(os.environ.get("PRIMAGE_CACHE", "/var/cache/primage"))


@dataclass
class RecordsServer:
    """One, which starts again on what it has written."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def start(self) -> None:
        """Begin, and be reached."""
        self.process = subprocess.Popen(self._command(), cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("the records' server listens", self._listens)

    def kill(self) -> None:
        """End at once."""
        assert self.process
        self.process.kill()
        self.process.wait(10)

    def _command(self) -> list[str]:
        if found := sorted(CACHE.glob("tools/*/ferretdb")):
            return [
                str(found[-1]),
                "--handler=sqlite",
                f"--sqlite-url=file:{self.folder}/",
                f"--listen-addr=127.0.0.1:{self.port}",
                "--state-dir=-",
                "--telemetry=disable",
                "--debug-addr=-",
                "--log-level=error",
            ]
        program = Path(sys.executable).with_name("nx-27017")
        files = ["--db", "records.db", "--log-file", "log", "--pid-file", "pid"]
        return [str(program), *files, "--port", str(self.port)]

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def records_server(folder: Path) -> Iterator[RecordsServer]:
    """One, while the block runs."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    server = RecordsServer(folder, port)
    server.start()
    try:
        yield server
    finally:
        server.kill()
