"""One HPC account: the SSH connection that its files, and where there is a shell its commands, go by."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

import asyncssh

from hpc_connector.domain import MOST_FILES, NO_IMAGE, Backend, RefusedError, Request, UnavailableError, is_output, readable
from hpc_connector.files import Home

CHUNK = 256 * 1024
AT_ONCE = 8
OUTPUT_AT_ONCE = 4 << 20
COPIES = 4
"""Blocks of files in memory at a time, of at most OUTPUT_AT_ONCE each, however many jobs copy something."""
SMALL_BYTES = 64 * 1024
"""Of a file that holds a number or a few names."""
LIST_BYTES = 24 << 20
"""Of a list of MOST_FILES names with their digests; more is refused, since it is held in memory."""
SECRET_BYTES = 64 * 1024
"""Of each key of a backend's Secret: the longest are chains of certificates, of a few kB each."""
CONNECT_S = 60.0
BLOCK_S = 60.0
"""For one block of a file: a server that hangs is let go and asked again on a new connection."""
FETCHES = 3
"""How often a file that does not arrive as it was announced is fetched again, before its job fails."""


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
        """Raises UnavailableError when something is missing, or is not what it must be."""
        missing = [key for key in ("username", "ssh-privatekey", "known_hosts") if not data.get(key, b"").strip()]
        if missing:
            raise UnavailableError("CredentialsUnfit", f"the backend's Secret has no {' and no '.join(missing)}")
        if long := [key for key, value in data.items() if len(value) > SECRET_BYTES]:
            raise UnavailableError("CredentialsUnfit", f"the backend's Secret has more than {SECRET_BYTES} bytes in {long[0]}")
        found = cls(
            username=_word(data, "username", r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}"),
            private_key=data["ssh-privatekey"],
            certificate=data.get("ssh-certificate", b""),
            known_hosts=data["known_hosts"],
            proxy=data.get("proxy", b""),
            token=_word(data, "slurm-token", r"[A-Za-z0-9._-]*"),
            authority=_word(data, "ca.crt", r"[\x09\x0a\x0d\x20-\x7e]*"),
        )
        try:
            found.expires()
            asyncssh.import_known_hosts(found.known_hosts.decode())
        except Exception as error:  # the parsers of three libraries, none of which says all that it may raise
            words = f"a certificate or the known_hosts in the backend's Secret cannot be read: {error}"
            raise UnavailableError("CredentialsUnfit", readable(words, 300)) from error
        return found

    def expires(self) -> datetime | None:
        """When the first of them ends; None when none does. A plain key does not."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_ssh_public_identity

        ends = []
        if self.certificate.strip():
            identity: Any = load_ssh_public_identity(self.certificate.strip())
            ends.append(_time(identity.valid_before))
        if self.proxy.strip():
            ends += [item.not_valid_after_utc for item in x509.load_pem_x509_certificates(self.proxy)]
        if self.token:
            ends.append(_token_end(self.token))
        return min((end for end in ends if end), default=None)


def _word(data: dict[str, bytes], key: str, pattern: str) -> str:
    text = data.get(key, b"").decode("ascii", "replace").strip()
    if not re.fullmatch(pattern, text, re.ASCII):
        raise UnavailableError("CredentialsUnfit", f"the backend's Secret holds in {key} what cannot be one")
    return text


def _time(seconds: Any) -> datetime | None:
    """A time in seconds since 1970; None for what lies beyond all calendars, which is never."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError, TypeError):
        return None


def _token_end(token: str) -> datetime | None:
    """Claim `exp` of a JSON Web Token (RFC 7519), which is not verified here: Slurm does."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return _time(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, RecursionError):
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
        self._copies = asyncio.Semaphore(COPIES)

    @abstractmethod
    async def _find_root(self, connection: asyncssh.SSHClientConnection) -> str:
        """The folder that holds all jobs' working folders, made where it is not there."""

    async def output(self, uid: str, attempt: int, offset: int, home: Home, log: str, at: int, most: int) -> int:
        """Copy the next part of an attempt's output, from `offset`, into HOME's file `log` at `at`; says how much, 0 at its end.

        Args:
            most: how much at most.
        """
        path = f"{self._root}/{uid}/{attempt}/output"
        try:
            async with self._copies:
                files = await self._sftp()
                async with asyncio.timeout(BLOCK_S):
                    if await _kind(files, path) != asyncssh.FILEXFER_TYPE_REGULAR:
                        return 0
                    async with files.open(path, "rb") as stream:
                        data: Any = await stream.read(min(most, OUTPUT_AT_ONCE), offset)
                if data:
                    await asyncio.to_thread(home.write_at, log, at, bytes(data))
                return len(data)
        except asyncssh.SFTPNoSuchFile:
            return 0
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
                try:
                    async with asyncio.timeout(CONNECT_S):
                        self._connection, self._files = await self._connect(), None
                except TimeoutError as error:
                    raise UnavailableError(
                        "Unreachable", f"{self.backend.endpoint} lets nobody in within {CONNECT_S:.0f} s"
                    ) from error
        return self._root

    async def _connect(self) -> asyncssh.SSHClientConnection:
        credentials = self._credentials()
        host, port = self.backend.address
        try:
            key: Any = asyncssh.import_private_key(credentials.private_key)
            if credentials.certificate.strip():
                key = (key, asyncssh.import_certificate(credentials.certificate))
            connection = await asyncssh.connect(
                host,
                port,
                username=credentials.username,
                client_keys=[key],
                agent_path=None,
                config=None,
                known_hosts=asyncssh.import_known_hosts(credentials.known_hosts.decode()),
                connect_timeout=15,
                login_timeout=20,
                keepalive_interval=5,
                keepalive_count_max=3,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise UnavailableError("HostKeyRefused", f"{host} shows a host key that is not pinned: {error.reason}") from error
        except asyncssh.PermissionDenied as error:
            raise UnavailableError("LoginRefused", f"{host} refuses the login of {credentials.username}: {error.reason}") from error
        except (asyncssh.KeyImportError, UnicodeDecodeError, ValueError) as error:
            raise UnavailableError("CredentialsUnfit", f"the key in the backend's Secret cannot be read: {error}") from error
        except (OSError, asyncssh.Error, TimeoutError) as error:
            raise UnavailableError("Unreachable", f"{host} cannot be reached by SSH: {error or type(error).__name__}") from error
        try:
            self._root = root_of(await self._find_root(connection))
            if credentials.proxy.strip():
                async with connection.start_sftp_client() as files:
                    await _put_proxy(files, f"{self._root}/.proxy", credentials.proxy)
        except (OSError, asyncssh.Error) as error:
            connection.abort()
            raise self._lost(error) from error
        except BaseException:
            connection.abort()
            raise
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
                if not is_output(path, request.outputs):
                    raise RefusedError("OutputMissing", f"{readable(path, 200)!r} is in none of the outputs the job names")
                if await asyncio.to_thread(home.digest, path) == digest:
                    continue
                await self._take_one(f"{folder}/{path}", path, part_of(request.uid, path, digest), digest, home)
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from error

    async def _take_one(self, source: str, path: str, part: str, digest: str, home: Home) -> None:
        for _ in range(FETCHES):
            await self._download(source, part, home)
            if await asyncio.to_thread(home.digest, part) == digest:
                await asyncio.to_thread(home.replace, part, path)
                return
            await asyncio.to_thread(home.remove, part)
        raise RefusedError("OutputMissing", f"{readable(path, 200)} is not what it was when the job ended: something changes it")

    async def _download(self, source: str, part: str, home: Home) -> None:
        """Fetch a file, from where an earlier try ended."""
        files, at = await self._sftp(), bytes_of(source)
        if await _kind(files, at, follow=True) != asyncssh.FILEXFER_TYPE_REGULAR:
            raise RefusedError("OutputMissing", f"{readable(source, 400)} is not a file any more")
        offset = await asyncio.to_thread(home.size, part)
        async with files.open(at, "rb") as stream:
            while True:
                async with self._copies:
                    async with asyncio.timeout(BLOCK_S):
                        data: Any = await stream.read(CHUNK * AT_ONCE, offset)
                    if data or not offset:
                        await asyncio.to_thread(home.write_at, part, offset, bytes(data))
                if not data:
                    return
                offset += len(data)

    async def _upload(self, files: asyncssh.SFTPClient, home: Home, path: str, target: str) -> None:
        """Send a file of HOME, from where an earlier try ended."""
        at = bytes_of(target)
        offset = int(await files.getsize(at) or 0) if await files.exists(at) else 0
        with await asyncio.to_thread(home.open, path) as local:
            if offset > await asyncio.to_thread(home.size, path):
                await files.truncate(at, 0)
                offset = 0
            local.seek(offset)
            async with files.open(at, "r+b" if offset else "wb") as stream:
                while True:
                    async with self._copies:
                        block = await asyncio.to_thread(home.block, local, CHUNK * AT_ONCE)
                        pieces = range(0, len(block), CHUNK)
                        async with asyncio.timeout(BLOCK_S):
                            await asyncio.gather(*(stream.write(block[piece : piece + CHUNK], offset + piece) for piece in pieces))
                    if not block:
                        return
                    offset += len(block)

    def attempt_files(self, request: Request) -> dict[str, tuple[str, int]]:
        """Text and mode of each file that an attempt is made of."""
        quoted = [shlex.quote(text) for text in request.arguments]
        # Beside the program, wherever the attempt's folder is; a script without an interpreter of its own is Bash's.
        program = ['"${0%/*}/program"'] if request.script.startswith("#!") else ["/bin/bash", '"${0%/*}/program"']
        image = (
            [] if request.image == NO_IMAGE else ["apptainer", "exec", '--bind "$MOUNT_POINT,${0%/*}"', shlex.quote(request.image)]
        )
        proxy = [f"X509_USER_PROXY={self._root}/.proxy"] if self._credentials().proxy.strip() else []
        return {
            "run.sh": (script("run"), 0o700),
            "outputs.sh": (script("outputs"), 0o600),
            "command": ("#!/bin/bash\nexec " + " ".join([*image, *program, *quoted]) + "\n", 0o700),
            "program": (request.script, 0o700),
            # Between NULs, for `env`: no shell reads it, so that no name in it means anything to one.
            "environment": ("".join(f"{text}\0" for text in (*proxy, *(f"{k}={v}" for k, v in request.environment))), 0o600),
        }


@cache
def script(name: str) -> str:
    """A script of folder `remote`."""
    return (resources.files("hpc_connector") / "remote" / f"{name}.sh").read_text()


def sums_of(text: str) -> dict[str, str]:
    """By path, what `sha256sum --zero` printed; raises ValueError where that is too much, or something else."""
    lines = text.split("\0")[:-1]
    if len(lines) > MOST_FILES:
        raise ValueError(f"there are more than {MOST_FILES} files; pack them")
    found = {}
    for line in lines:
        if not re.match(r"[0-9a-f]{64}  .", line, re.DOTALL):
            raise ValueError(f"the list of files has a line that is none: {readable(line, 100)!r}")
        found[line[66:]] = line[:64]
    return found


def part_of(uid: str, path: str, digest: str) -> str:
    """Where a file of a job is kept while it is on its way, beside its place, under a name that is always short.

    Jobs share HOME, and often bring files of the same content into one folder at the same time: no two may share a part.
    """
    name = hashlib.sha256("\0".join((uid, path, digest)).encode(errors="surrogateescape")).hexdigest()[:32]
    return str(PurePosixPath(path).with_name(f".{name}.part"))


def number_of(text: str) -> str:
    """Slurm's number as `submit.sh` and its file `number` have it; empty for an attempt that had begun already."""
    word = (text.strip().splitlines() or [""])[-1]
    if not re.fullmatch(r"[0-9]{1,20}|started", word, re.ASCII):
        raise RefusedError("SubmitRefused", f"{readable(word, 80)!r} is not a job's number; something wrote to the attempt's files")
    return "" if word == "started" else word


def root_of(text: str) -> str:
    """The folder a login node says it keeps working folders in: a whole path, on the last line of what it says."""
    root = (text.strip().splitlines() or [""])[-1]
    if not re.fullmatch(r"/[^\x00-\x1f\x7f|]{1,4000}", root):
        raise UnavailableError("HpcUnavailable", f"its scratch folder is none: {readable(root, 200)!r}")
    return root


async def _kind(files: asyncssh.SFTPClient, path: str | bytes, *, follow: bool = False) -> int:
    """What kind of file a path is: opening a pipe would block the server, and with it everything on this connection."""
    return int((await (files.stat(path) if follow else files.lstat(path))).type)


async def _put_proxy(files: asyncssh.SFTPClient, path: str, proxy: bytes) -> None:
    async with files.open(f"{path}.new", "wb") as stream:
        await files.chmod(f"{path}.new", 0o600)
        await stream.write(proxy)
    await files.posix_rename(f"{path}.new", path)


def bytes_of(path: str) -> bytes:
    """A path as it is there, also where it is not UTF-8."""
    return path.encode(errors="surrogateescape")
