"""One HPC account: the SSH connection that its files, and where there is a shell its commands, go by."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import asyncssh

from hpc_connector.domain import NO_IMAGE, Backend, Request, UnavailableError
from hpc_connector.files import Home

CHUNK = 256 * 1024
AT_ONCE = 8
OUTPUT_AT_ONCE = 4 << 20


@dataclass(frozen=True)
class Credentials:
    """What Secret `backend-<name>` holds.

    Attributes:
        username: the account that the jobs of this namespace are mapped to.
        private_key, certificate: OpenSSH; the certificate may be empty.
        known_hosts: the login node's pinned host keys.
        proxy: a grid proxy credential, PEM; may be empty.
        token: for slurmrestd, a JSON Web Token; may be empty.
        authority: certificates that slurmrestd's own is checked against, PEM; empty for the usual ones.
    """

    username: str
    private_key: bytes
    certificate: bytes
    known_hosts: bytes
    proxy: bytes
    token: str = ""
    authority: str = ""

    @classmethod
    def of(cls, data: dict[str, bytes]) -> Credentials:
        """Raises UnavailableError when something is missing."""
        missing = [key for key in ("username", "ssh-privatekey", "known_hosts") if not data.get(key, b"").strip()]
        if missing:
            raise UnavailableError("CredentialsUnfit", f"the backend's Secret has no {' and no '.join(missing)}")
        return cls(
            data["username"].decode().strip(), data["ssh-privatekey"], data.get("ssh-certificate", b""), data["known_hosts"],
            data.get("proxy", b""), data.get("slurm-token", b"").decode().strip(), data.get("ca.crt", b"").decode(),
        )  # fmt: skip

    def expires(self) -> datetime | None:
        """When the first of them ends; None when none does. A plain key does not."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_ssh_public_identity

        ends = []
        if self.certificate.strip():
            identity: Any = load_ssh_public_identity(self.certificate.strip())
            if identity.valid_before < 2**63:
                ends.append(datetime.fromtimestamp(identity.valid_before, UTC))
        if self.proxy.strip():
            ends += [item.not_valid_after_utc for item in x509.load_pem_x509_certificates(self.proxy)]
        if self.token and (end := _token_end(self.token)):
            ends.append(end)
        return min(ends, default=None)


def _token_end(token: str) -> datetime | None:
    """Claim `exp` of a JSON Web Token (RFC 7519), which is not verified here: Slurm does."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (IndexError, KeyError, TypeError, ValueError):
        return None


class Connection(ABC):
    """A backend as one of its users; safe to use from many tasks.

    Args:
        owner: what tells this cluster's and namespace's jobs from others' of the same account.
        credentials: read anew for every connection.

    Attributes:
        commands: how often the login node, or its slurmrestd, was asked something.
    """

    def __init__(self, backend: Backend, owner: str, credentials: Callable[[], Credentials]) -> None:
        self.backend = backend
        self.owner = owner
        self.commands = 0
        self._credentials = credentials
        self._connection: asyncssh.SSHClientConnection | None = None
        self._files: asyncssh.SFTPClient | None = None
        self._root = ""
        self._connecting = asyncio.Lock()

    @abstractmethod
    async def _find_root(self, connection: asyncssh.SSHClientConnection) -> str:
        """The folder that holds all jobs' working folders, made where it is not there."""

    async def output(self, uid: str, attempt: int, offset: int) -> bytes:
        """The next part of an attempt's output, empty at its end."""
        try:
            async with (await self._sftp()).open(f"{self._root}/{uid}/{attempt}/output", "rb") as stream:
                data: Any = await stream.read(OUTPUT_AT_ONCE, offset)
                return bytes(data)
        except asyncssh.SFTPNoSuchFile:
            return b""
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from error

    async def close(self) -> None:
        """End the connection; the next request makes a new one, with the credentials of then."""
        connection, self._connection, self._files = self._connection, None, None
        if connection:
            connection.abort()

    async def _ready(self) -> str:
        """Root of the working folders, on a connection that stands."""
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection, self._files = await self._connect(), None
        return self._root

    async def _connect(self) -> asyncssh.SSHClientConnection:
        credentials = self._credentials()
        host, port = self.backend.address
        try:
            key: Any = asyncssh.import_private_key(credentials.private_key)
            if credentials.certificate.strip():
                key = (key, asyncssh.import_certificate(credentials.certificate))
            connection = await asyncssh.connect(
                host, port, username=credentials.username, client_keys=[key], agent_path=None, config=None,
                known_hosts=asyncssh.import_known_hosts(credentials.known_hosts.decode()), connect_timeout=15,
                login_timeout=20, keepalive_interval=5, keepalive_count_max=3,
            )  # fmt: skip
        except asyncssh.HostKeyNotVerifiable as error:
            raise UnavailableError("HostKeyRefused", f"{host} shows a host key that is not pinned: {error.reason}") from error
        except asyncssh.PermissionDenied as error:
            raise UnavailableError("LoginRefused", f"{host} refuses the login of {credentials.username}: {error.reason}") from error
        except (asyncssh.KeyImportError, UnicodeDecodeError, ValueError) as error:
            raise UnavailableError("CredentialsUnfit", f"the key in the backend's Secret cannot be read: {error}") from error
        except (OSError, asyncssh.Error, TimeoutError) as error:
            raise UnavailableError("Unreachable", f"{host} cannot be reached by SSH: {error or type(error).__name__}") from error
        self._root = await self._find_root(connection)
        if credentials.proxy.strip():
            async with connection.start_sftp_client() as files, files.open(f"{self._root}/.proxy", "wb") as stream:
                await files.chmod(f"{self._root}/.proxy", 0o600)
                await stream.write(credentials.proxy)
        return connection

    async def _sftp(self) -> asyncssh.SFTPClient:
        await self._ready()
        async with self._connecting:
            if self._files is None:
                assert self._connection is not None
                self._files = await self._connection.start_sftp_client()
            return self._files

    def _lost(self, error: BaseException) -> UnavailableError:
        if isinstance(error, asyncssh.SFTPError):
            return UnavailableError("FilesUnavailable", f"a file on {self.backend.endpoint} cannot be read or written: {error}")
        if isinstance(error, OSError) and error.errno and error.filename:
            return UnavailableError("HomeUnavailable", f"HOME cannot be used: {error.strerror}")
        if self._connection is not None:
            self._connection.abort()
        return UnavailableError(
            "ConnectionLost", f"the connection to {self.backend.endpoint} was lost: {error or type(error).__name__}"
        )

    async def take(self, request: Request, made: dict[str, str], home: Home) -> None:
        """Copy files of a job's HOME here, of which the SHA-256 is known; what is here already is left alone."""
        folder = f"{self._root}/{request.uid}/mount/HOME/private"
        try:
            for path, digest in made.items():
                target = home.path(path)
                if await asyncio.to_thread(home.digest, target) == digest:
                    continue
                home.make_folder(target.parent)
                part = target.with_name(f".{target.name}.{request.uid[:8]}.part")
                await download(await self._sftp(), f"{folder}/{path}", part, home)
                if await asyncio.to_thread(home.digest, part) != digest:
                    part.unlink()
                    raise UnavailableError("StagingOut", f"{path} did not arrive whole; it is fetched again")
                part.replace(target)
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from error

    def attempt_files(self, request: Request) -> dict[str, tuple[str, int]]:
        """Text and mode of each file that an attempt is made of."""
        quoted = [shlex.quote(text) for text in request.arguments]
        # Beside the program, wherever the attempt's folder is; a script without an interpreter of its own is Bash's.
        program = ['"${0%/*}/program"'] if request.script.startswith("#!") else ["/bin/bash", '"${0%/*}/program"']
        image = (
            [] if request.image == NO_IMAGE else ["apptainer", "exec", '--bind "$MOUNT_POINT,${0%/*}"', shlex.quote(request.image)]
        )
        proxy = [f"X509_USER_PROXY={shlex.quote(self._root + '/.proxy')}"] if self._credentials().proxy.strip() else []
        return {
            "run.sh": (script("run"), 0o700),
            "command": ("#!/bin/bash\nexec " + " ".join([*image, *program, *quoted]) + "\n", 0o700),
            "program": (request.script, 0o700),
            "environment": (
                "\n".join([*proxy, *(f"{key}={shlex.quote(value)}" for key, value in request.environment)]) + "\n",
                0o600,
            ),
        }


@cache
def script(name: str) -> str:
    """A script of folder `remote`."""
    return (resources.files("hpc_connector") / "remote" / f"{name}.sh").read_text()


def sums_of(text: str) -> dict[str, str]:
    """By path, what `sha256sum --zero` printed."""
    return {line[66:]: line[:64] for line in text.split("\0") if len(line) > 66}


async def upload(files: asyncssh.SFTPClient, source: Path, target: str) -> None:
    """Send a file, from where an earlier try ended."""
    size = source.stat().st_size
    offset = int(await files.getsize(target) or 0) if await files.exists(target) else 0
    if offset > size:
        await files.truncate(target, 0)
        offset = 0
    async with files.open(target, "r+b" if offset else "wb") as stream:
        with source.open("rb") as local:
            local.seek(offset)
            while block := await asyncio.to_thread(local.read, CHUNK * AT_ONCE):
                pieces = range(0, len(block), CHUNK)
                await asyncio.gather(*(stream.write(block[at : at + CHUNK], offset + at) for at in pieces))
                offset += len(block)


async def download(files: asyncssh.SFTPClient, source: str, target: Path, home: Home) -> None:
    """Fetch a file, from where an earlier try ended."""
    offset = target.stat().st_size if target.exists() else 0
    async with files.open(source, "rb") as stream:
        while True:
            data: Any = await stream.read(CHUNK * AT_ONCE, offset)
            if not data:
                break
            await asyncio.to_thread(home.write_at, target, offset, bytes(data))
            offset += len(data)
        if offset == 0:
            await asyncio.to_thread(home.write_at, target, 0, b"")
