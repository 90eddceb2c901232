"""A login node, asked once by SSH or SFTP with the credentials of an HPC centre and with nothing of this machine's own."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from primage.process import capture


@dataclass(frozen=True)
class LoginNode:
    """Where and as whom to log in.

    Attributes:
        endpoint: host, or host:port.
        known_hosts: lines with the host's keys; no other key is accepted.
    """

    endpoint: str
    username: str
    key: Path
    known_hosts: Path
    certificate: Path | None = None

    def say(self, command: str, *, timeout_s: float) -> str:
        """What a command prints there.

        Raises:
            PrimageError: no login, or the command fails.
        """
        with tempfile.TemporaryDirectory(prefix="primage-login-") as folder:
            return capture(["ssh", *self._flags(folder, "-p"), self._account, command], timeout_s=timeout_s).strip()

    def home(self, *, timeout_s: float) -> str:
        """The account's folder, asked by SFTP where a centre has no shell; raises PrimageError as `say` does."""
        with tempfile.TemporaryDirectory(prefix="primage-login-") as folder:
            batch = Path(folder) / "batch"
            batch.write_text("pwd\n")
            command = ["sftp", "-q", "-b", str(batch), *self._flags(folder, "-P"), self._account]
            return capture(command, timeout_s=timeout_s).strip()

    @property
    def _account(self) -> str:
        return f"{self.username}@{self._place[0]}"

    @property
    def _place(self) -> tuple[str, str]:
        host, colon, port = self.endpoint.rpartition(":")
        return (host, port) if colon and port.isdigit() else (self.endpoint, "22")

    def _flags(self, folder: str, port_flag: str) -> list[str]:
        key = Path(folder) / "key"  # ssh refuses a key that others may read, wherever it came from
        key.touch(mode=0o600)
        key.write_bytes(self.key.read_bytes())
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityFile": str(key),
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known_hosts.resolve()),
            "GlobalKnownHostsFile": "none",
            "ConnectTimeout": "15",
            **({"CertificateFile": str(self.certificate.resolve())} if self.certificate else {}),
        }
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return ["-F", "none", *flags, port_flag, self._place[1]]
