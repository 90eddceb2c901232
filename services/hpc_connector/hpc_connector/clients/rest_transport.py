"""The transport to Slurm's REST daemon, with nothing but SFTP for files: no command runs on the login node.

What a shell does elsewhere, the job does itself: it checks what was brought before it begins, and says what it made
(remote/run.sh).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import PurePosixPath
from typing import Any

import asyncssh

from hpc_connector.clients.credentials import Credentials
from hpc_connector.clients.home import Home
from hpc_connector.clients.job_files import JobFiles, bytes_of
from hpc_connector.clients.remote import attempt_files
from hpc_connector.clients.shares import Shares
from hpc_connector.clients.slurmrestd import Slurmrestd
from hpc_connector.clients.ssh_connection import SshConnection
from hpc_connector.domain.answers import LIST_BYTES, SMALL_BYTES, number_of, part_of, sums_of
from hpc_connector.domain.backend import expanded
from hpc_connector.domain.errors import RefusedError, UnavailableError
from hpc_connector.domain.request import Request
from hpc_connector.domain.seen import LIVE, Numbers, Seen, read_queue, result_of
from hpc_connector.domain.submission import rest_submission
from hpc_connector.domain.text import readable
from primage.contract.hpc import Backend

CANCEL_S = 20.0
AT_A_TIME = 32
"""File requests under way; all of them share one connection."""


class RestTransport:
    """Asks slurmrestd; files go by SFTP. A `Transport`.

    Args:
        owner: what tells this cluster's and namespace's jobs from others' of the same account.
        credentials: asked again for every connection.
    """

    def __init__(self, backend: Backend, owner: str, credentials: Callable[[], Credentials], shares: Shares) -> None:
        self._backend = backend
        self._owner = owner
        self._credentials = credentials
        self._slurm = Slurmrestd(backend.slurmrestd, credentials, shares)
        self._ssh = SshConnection(backend, credentials, self._find_root)
        self._files = JobFiles(self._ssh, shares)
        self._at_a_time = asyncio.Semaphore(AT_A_TIME)
        self._results: dict[tuple[str, int], dict[str, Any]] = {}

    @property
    def commands(self) -> int:
        """How often slurmrestd was asked something."""
        return self._slurm.questions

    # -- what is asked of it ---------------------------------------------------------------------------------------

    async def submit(self, request: Request, attempt: int) -> str:
        """Slurm's number of the attempt; submitted now, or by an earlier call that was cut off. Empty when it is over."""
        at = f"{await self._ssh.root()}/{request.uid}/{attempt}"
        async with self._filing() as files:
            if number := await self._text(files, f"{at}/number"):
                return number_of(number)
            await self._write_attempt(files, request, at)
            started = await files.exists(f"{at}/started")
        queue = await self._queue({})
        number = queue.get((request.uid, attempt), {}).get("slurm", "")
        if not number and not started:
            number = await self._send(request, attempt, at)
        async with self._filing() as files:
            await self._put(files, f"{at}/number", number or "started", 0o600)
        return number

    async def _send(self, request: Request, attempt: int, at: str) -> str:
        try:
            return await self._slurm.submit(rest_submission(request, self._backend, self._owner, attempt, at))
        except RefusedError:
            # It also complains of what it has taken: "Required node not available" is said of a job that waits for the node.
            taken = (await self._queue({})).get((request.uid, attempt))
            if taken is None:
                raise
            return taken["slurm"]

    async def look(self, attempts: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], Seen]:
        """What Slurm has of this namespace, by one question to slurmrestd, and the files of these attempts."""
        keys = list(attempts)
        queue = await self._queue(attempts)
        root = await self._ssh.root()
        async with self._filing() as files:
            found = await asyncio.gather(*(self._files_of(files, f"{root}/{key[0]}/{key[1]}", key) for key in keys))
        self._results = {key: self._results[key] for key in keys if key in self._results}
        about = dict(zip(keys, found, strict=True))
        return {key: Seen(**{**queue.get(key, {}), **about.get(key, {})}) for key in {*queue, *about}}

    async def cancel(self, uid: str, number: str = "") -> bool:
        """Return once none of the job's attempts lives; says whether there has been anything of the job."""
        end = asyncio.get_running_loop().time() + CANCEL_S
        known = False
        while True:
            queue = await self._queue({(uid, 0): number})
            alive = [job["slurm"] for (whose, _), job in queue.items() if whose == uid and job["state"] in LIVE]
            known = known or any(whose == uid for whose, _ in queue)
            if not alive:
                return known or await self._has_folder(uid)
            for each in alive:
                await self._slurm.cancel(each)
            if asyncio.get_running_loop().time() > end:
                raise UnavailableError("HpcUnavailable", f"still there: {', '.join(alive)}")
            await asyncio.sleep(0.3)

    async def forget(self, uid: str) -> bool:
        """Remove the job's working folder; says whether there was one."""
        if not await self._has_folder(uid):
            return False
        async with self._filing() as files:
            await _remove(files, f"{await self._ssh.root()}/{uid}".encode())
        return True

    async def _has_folder(self, uid: str) -> bool:
        root = await self._ssh.root()
        async with self._filing() as files:
            return bool(await files.exists(f"{root}/{uid}"))

    async def bring(self, request: Request, home: Home) -> None:
        """Copy the inputs there, what is there at its full length excepted; the job itself checks what arrived."""
        if not request.inputs:
            return
        work = f"{await self._ssh.root()}/{request.uid}"
        folder = f"{work}/mount/HOME/private"
        async with self._filing() as files:
            await files.makedirs(folder, exist_ok=True)
        wanted = await home.files(request.inputs)
        async with self._filing() as files:
            for path, digest in wanted.items():
                parent = str(PurePosixPath(f"{folder}/{path}").parent)
                coming = f"{folder}/{part_of(request.uid, path, digest)}"
                target, part, above = map(bytes_of, (f"{folder}/{path}", coming, parent))
                size = await home.size(path)
                if not (await files.exists(target) and await files.getsize(target) == size):
                    await files.makedirs(above, exist_ok=True)
                    await self._files.upload(files, home, path, coming)
                    await files.posix_rename(part, target)
            await self._put(files, f"{work}/inputs", "".join(map(_sum_line, wanted, wanted.values())), 0o600)

    async def output(self, uid: str, attempt: int, offset: int, home: Home, log: str, at: int, most: int) -> int:
        """Copy the next part of an attempt's output into HOME; says how much, 0 at its end."""
        return await self._files.output(uid, attempt, offset, home, log, at, most)

    async def fetch(self, request: Request, home: Home) -> None:
        """Copy the outputs here, of which the job has said what they are; what is here already excepted.

        Raises:
            RefusedError: something of what the job names is not there, or is not a file in its HOME; the rest is here then.
        """
        if not request.outputs:
            return
        work = f"{await self._ssh.root()}/{request.uid}"
        async with self._filing() as files:
            missing = await self._text(files, f"{work}/missing")
            try:
                made = sums_of(await self._text(files, f"{work}/sums", LIST_BYTES))
            except ValueError as error:
                raise RefusedError("OutputMissing", str(error)) from error
        await self._files.take(request, made, home)
        if missing or not made:
            raise RefusedError("OutputMissing", readable(missing or "the job left no list of what it made"))

    async def close(self) -> None:
        """End the connection; the next request makes a new one, with the credentials of then."""
        await self._ssh.close()
        await self._slurm.close()

    # -- files -----------------------------------------------------------------------------------------------------

    async def _find_root(self, connection: asyncssh.SSHClientConnection) -> str:
        """Only HOME and USER stand for something here: there is no shell to ask for more."""
        async with connection.start_sftp_client() as files:
            home = str(await files.realpath("."))
            scratch = expanded(self._backend.scratch, {"HOME": home, "USER": self._credentials().username})
            if scratch is None:
                raise UnavailableError("BackendUnfit", f"without a shell nobody knows what {self._backend.scratch} means there")
            await files.makedirs(f"{scratch}/primage", attrs=asyncssh.SFTPAttrs(permissions=0o700), exist_ok=True)
            return f"{scratch}/primage"

    @asynccontextmanager
    async def _filing(self) -> AsyncIterator[asyncssh.SFTPClient]:
        try:
            yield await self._ssh.sftp()
        except (OSError, asyncssh.Error) as error:
            raise self._ssh.lost(error) from error

    async def _write_attempt(self, files: asyncssh.SFTPClient, request: Request, at: str) -> None:
        work = str(PurePosixPath(at).parent)
        private = asyncssh.SFTPAttrs(permissions=0o700)
        await files.makedirs(at, attrs=private, exist_ok=True)
        await files.makedirs(f"{work}/mount/HOME/private", attrs=private, exist_ok=True)
        if self._backend.datalake and not await files.exists(f"{work}/mount/DATALAKE"):
            await files.symlink(self._backend.datalake, f"{work}/mount/DATALAKE")
        await self._put(files, f"{work}/outputs", "".join(f"{path}\0" for path in request.outputs), 0o600)
        for name, (text, mode) in attempt_files(request, self._ssh.proxy()).items():
            await self._put(files, f"{at}/{name}", text, mode)

    async def _files_of(self, files: asyncssh.SFTPClient, at: str, key: tuple[str, int]) -> dict[str, Any]:
        """How much an attempt has written, and its result; what somebody put there in place of a file is as good as nothing."""
        async with self._at_a_time:
            found: dict[str, Any] = {"written": max(0, await self._size(files, f"{at}/output"))}
            size = 0 if key in self._results else await self._size(files, f"{at}/result")
            if size:
                fit = 0 < size <= SMALL_BYTES
                self._results[key] = result_of(await self._text(files, f"{at}/result")) if fit else {"unfit": True}
        return {**found, **self._results.get(key, {})}

    @staticmethod
    async def _size(files: asyncssh.SFTPClient, path: str) -> int:
        """A file's length; 0 where there is none, -1 where it is anything but a regular file."""
        try:
            found = await files.lstat(path)
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection):
            raise
        except asyncssh.SFTPError as error:
            return 0 if isinstance(error, asyncssh.SFTPNoSuchFile) else -1
        return int(found.size or 0) if found.type == asyncssh.FILEXFER_TYPE_REGULAR else -1

    @classmethod
    async def _text(cls, files: asyncssh.SFTPClient, path: str, most: int = SMALL_BYTES) -> str:
        """A small file's text, empty where there is none; raises RefusedError where it is longer."""
        if await cls._size(files, path) <= 0:
            return ""
        try:
            async with files.open(path, "rb") as stream:
                data: Any = await stream.read(most + 1)
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection):
            raise
        except asyncssh.SFTPError:  # gone since, or made unreadable by whoever owns it
            return ""
        if len(data) > most:
            raise RefusedError("Unfit", f"something wrote more than {most} bytes into {PurePosixPath(path).name}")
        return bytes(data).decode(errors="surrogateescape").strip("\n")

    @staticmethod
    async def _put(files: asyncssh.SFTPClient, path: str, text: str, mode: int) -> None:
        """A small file, there whole or not at all."""
        async with files.open(f"{path}.new", "wb", asyncssh.SFTPAttrs(permissions=mode)) as stream:
            await stream.write(text.encode(errors="surrogateescape"))
        await files.chmod(f"{path}.new", mode)
        await files.posix_rename(f"{path}.new", path)

    async def _queue(self, numbers: Numbers) -> dict[tuple[str, int], dict[str, str]]:
        return read_queue(await self._slurm.jobs(), self._owner, self._credentials().username, numbers)


async def _remove(files: asyncssh.SFTPClient, folder: bytes) -> None:
    """A folder with everything in it; the library's own way stops at a name with a backslash. A link is removed, not followed."""
    if await _is_folder(files, folder):
        waiting = [folder]
        while waiting:
            inner = await _empty(files, waiting[-1])
            if not inner:
                await files.rmdir(waiting.pop())
            waiting += inner
    else:
        await files.unlink(folder)


async def _empty(files: asyncssh.SFTPClient, folder: bytes) -> list[bytes]:
    """Remove a folder's files; returns the folders in it."""
    found = []
    with suppress(asyncssh.SFTPError):
        await files.chmod(folder, 0o700)  # one that its own job made unwritable
    async for entry in files.scandir(folder):
        name = entry.filename if isinstance(entry.filename, bytes) else entry.filename.encode(errors="surrogateescape")
        if name in {b".", b".."} or b"/" in name:
            continue
        if entry.attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY:
            found.append(folder + b"/" + name)
        else:
            await files.unlink(folder + b"/" + name)
    return found


async def _is_folder(files: asyncssh.SFTPClient, path: bytes) -> bool:
    return (await files.lstat(path)).type == asyncssh.FILEXFER_TYPE_DIRECTORY


def _sum_line(path: str, digest: str) -> str:
    """As sha256sum writes and checks it: with a backslash where the name has a character of its own."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n")
    mark = "\\" if escaped != path else ""
    return f"{mark}{digest}  {escaped}\n"
