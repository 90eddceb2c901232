"""A backend that is asked by Slurm's REST daemon, with nothing but SFTP for files: no command runs on the login node.

https://slurm.schedmd.com/rest_api.html, OpenAPI plugin v0.0.38 (Slurm 22.05 to 23.02). What a shell does elsewhere, the
job does itself: it checks what was brought before it begins, and says what it made (remote/run.sh).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

import asyncssh
import httpx2

from hpc_connector.connection import Connection, Credentials, sums_of, upload
from hpc_connector.domain import (
    LIVE,
    Backend,
    RefusedError,
    Request,
    Seen,
    UnavailableError,
    read_queue,
    rest_submission,
)
from hpc_connector.files import Home

API = "slurm/v0.0.38"
ANSWER_S = 30.0
CANCEL_S = 20.0
AT_A_TIME = 32
"""File requests under way; all of them share one connection."""
PASSES = (
    "Unable to contact", "ocket timed out", "temporarily", "No space left", "AssocMaxSubmit", "QOSMaxSubmit", "Zero Bytes",
    "Unspecified error",
)  # fmt: skip


class RestAccount(Connection):
    """Asks slurmrestd; files go by SFTP."""

    def __init__(self, backend: Backend, owner: str, credentials: Callable[[], Credentials]) -> None:
        super().__init__(backend, owner, credentials)
        self._client: httpx2.AsyncClient | None = None
        self._at_a_time = asyncio.Semaphore(AT_A_TIME)
        self._codes: dict[tuple[str, int], int] = {}

    # -- what is asked of it ---------------------------------------------------------------------------------------

    async def submit(self, request: Request, attempt: int) -> str:
        """Slurm's number of the attempt; submitted now, or by an earlier call that was cut off. Empty when it is over."""
        at = f"{await self._ready()}/{request.uid}/{attempt}"
        async with self._filing() as files:
            if number := await self._text(files, f"{at}/number"):
                return "" if number == "started" else number
            await self._write_attempt(files, request, at)
            started = await files.exists(f"{at}/started")
        queue = await self._queue()
        number = queue.get((request.uid, attempt), {}).get("slurm", "")
        if not number and not started:
            number = await self._send(request, attempt, at)
        async with self._filing() as files:
            await self._put(files, f"{at}/number", number or "started", 0o600)
        return number

    async def _send(self, request: Request, attempt: int, at: str) -> str:
        try:
            answer = await self._ask("POST", "job/submit", rest_submission(request, self.backend, self.owner, attempt, at))
            return str(answer["job_id"])
        except RefusedError:
            # It also complains of what it has taken: "Required node not available" is said of a job that waits for the node.
            taken = (await self._queue()).get((request.uid, attempt))
            if taken is None:
                raise
            return taken["slurm"]

    async def look(self) -> dict[tuple[str, int], Seen]:
        """All of this namespace's attempts: one question to slurmrestd, and a look at each attempt's files."""
        queue = await self._queue()
        root = await self._ready()
        async with self._filing() as files:
            uids = [str(name) for name in await files.listdir(root) if not str(name).startswith(".")]
            attempts = await asyncio.gather(*(self._attempts(files, uid) for uid in uids))
            keys = sorted({*queue, *(key for found in attempts for key in found)})
            seen = await asyncio.gather(*(self._seen(files, key, queue.get(key, {})) for key in keys))
        self._codes = {key: self._codes[key] for key in keys if key in self._codes}
        return dict(zip(keys, seen, strict=True))

    async def cancel(self, uid: str) -> None:
        """Return once none of the job's attempts lives."""
        end = asyncio.get_running_loop().time() + CANCEL_S
        while True:
            queue = await self._queue()
            alive = [job["slurm"] for (whose, _), job in queue.items() if whose == uid and job["state"] in LIVE]
            if not alive:
                return
            for number in alive:
                await self._ask("DELETE", f"job/{number}")
            if asyncio.get_running_loop().time() > end:
                raise UnavailableError("HpcUnavailable", f"still there: {', '.join(alive)}")
            await asyncio.sleep(0.3)

    async def forget(self, uid: str) -> None:
        """Remove the job's working folder."""
        root = await self._ready()
        async with self._filing() as files:
            if await files.exists(f"{root}/{uid}"):
                await _remove(files, f"{root}/{uid}".encode())

    async def bring(self, request: Request, home: Home) -> None:
        """Copy the inputs there, what is there at its full length excepted; the job itself checks what arrived."""
        if not request.inputs:
            return
        work = f"{await self._ready()}/{request.uid}"
        folder = f"{work}/mount/HOME/private"
        wanted = await asyncio.to_thread(home.files, request.inputs)
        async with self._filing() as files:
            for path in wanted:
                source, target = home.path(path), f"{folder}/{path}"
                if not (await files.exists(target) and await files.getsize(target) == source.stat().st_size):
                    await files.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
                    await upload(files, source, f"{target}.part")
                    await files.posix_rename(f"{target}.part", target)
            await self._put(files, f"{work}/inputs", "".join(map(_sum_line, wanted, wanted.values())), 0o600)

    async def fetch(self, request: Request, home: Home) -> None:
        """Copy the outputs here, of which the job has said what they are; what is here already excepted."""
        if not request.outputs:
            return
        work = f"{await self._ready()}/{request.uid}"
        async with self._filing() as files:
            if missing := await self._text(files, f"{work}/missing"):
                raise RefusedError("OutputMissing", f"it did not make {missing}")
            made = sums_of(await self._text(files, f"{work}/sums"))
        await self.take(request, made, home)

    async def close(self) -> None:
        """End the connection; the next request makes a new one, with the credentials of then."""
        await super().close()
        client, self._client = self._client, None
        if client:
            await client.aclose()

    # -- files -----------------------------------------------------------------------------------------------------

    async def _find_root(self, connection: asyncssh.SSHClientConnection) -> str:
        """Only HOME and USER stand for something here: there is no shell to ask for more."""
        try:
            async with connection.start_sftp_client() as files:
                home = str(await files.realpath("."))
                scratch = self.backend.scratch.replace("${", "$").replace("}", "")
                scratch = scratch.replace("$HOME", home).replace("$USER", self._credentials().username)
                scratch = home + scratch[1:] if scratch.startswith("~") else scratch
                if "$" in scratch:
                    raise RefusedError("BackendUnfit", f"without a shell nobody knows what {self.backend.scratch} means there")
                await files.makedirs(f"{scratch}/primage", attrs=asyncssh.SFTPAttrs(permissions=0o700), exist_ok=True)
                return f"{scratch}/primage"
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from error

    @asynccontextmanager
    async def _filing(self) -> AsyncIterator[asyncssh.SFTPClient]:
        try:
            yield await self._sftp()
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from error

    async def _write_attempt(self, files: asyncssh.SFTPClient, request: Request, at: str) -> None:
        work = str(PurePosixPath(at).parent)
        private = asyncssh.SFTPAttrs(permissions=0o700)
        await files.makedirs(at, attrs=private, exist_ok=True)
        await files.makedirs(f"{work}/mount/HOME/private", attrs=private, exist_ok=True)
        if self.backend.datalake and not await files.exists(f"{work}/mount/DATALAKE"):
            await files.symlink(self.backend.datalake, f"{work}/mount/DATALAKE")
        await self._put(files, f"{work}/outputs", "".join(f"{path}\0" for path in request.outputs), 0o600)
        for name, (text, mode) in self.attempt_files(request).items():
            await self._put(files, f"{at}/{name}", text, mode)

    async def _attempts(self, files: asyncssh.SFTPClient, uid: str) -> list[tuple[str, int]]:
        async with self._at_a_time:
            try:
                names = [str(name) for name in await files.listdir(f"{self._root}/{uid}")]
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNotADirectory):  # it was forgotten meanwhile
                return []
        return [(uid, int(name)) for name in names if name.isdigit()]

    async def _seen(self, files: asyncssh.SFTPClient, key: tuple[str, int], queued: dict[str, str]) -> Seen:
        at = f"{self._root}/{key[0]}/{key[1]}"
        async with self._at_a_time:
            try:
                written = int((await files.stat(f"{at}/output")).size or 0)
            except asyncssh.SFTPNoSuchFile:
                written = 0
            if key not in self._codes and (text := await self._text(files, f"{at}/result")):
                self._codes[key] = int(text)
        return Seen(**queued, code=self._codes.get(key), written=written)

    @staticmethod
    async def _text(files: asyncssh.SFTPClient, path: str) -> str:
        """A small file's text, empty where there is none."""
        try:
            async with files.open(path, "rb") as stream:
                data: Any = await stream.read()
                return bytes(data).decode(errors="surrogateescape").strip("\n")
        except asyncssh.SFTPNoSuchFile:
            return ""

    @staticmethod
    async def _put(files: asyncssh.SFTPClient, path: str, text: str, mode: int) -> None:
        """A small file, there whole or not at all."""
        async with files.open(f"{path}.new", "wb", asyncssh.SFTPAttrs(permissions=mode)) as stream:
            await stream.write(text.encode(errors="surrogateescape"))
        await files.chmod(f"{path}.new", mode)
        await files.posix_rename(f"{path}.new", path)

    # -- slurmrestd ------------------------------------------------------------------------------------------------

    async def _queue(self) -> dict[tuple[str, int], dict[str, str]]:
        return read_queue((await self._ask("GET", "jobs"))["jobs"], self.owner)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        self.commands += 1
        try:
            answer = await self._http().request(method, f"{self.backend.slurmrestd}/{API}/{path}", json=body)
            found: dict[str, Any] = json.loads(answer.content)
        except (httpx2.HTTPError, OSError) as error:
            raise UnavailableError("Unreachable", f"slurmrestd cannot be reached: {error or type(error).__name__}") from error
        except ValueError as error:
            raise UnavailableError("HpcUnavailable", f"slurmrestd answered {answer.status_code} and no JSON") from error
        said = "; ".join(str(e.get("error") or e.get("description") or e) for e in found.get("errors") or [])
        if method == "POST" and said and not any(words in said for words in PASSES):
            raise RefusedError("SubmitRefused", said)
        if method != "DELETE" and (said or answer.status_code >= HTTPStatus.BAD_REQUEST):
            raise self._unavailable(said or f"it answered {answer.status_code}")
        return found

    def _unavailable(self, said: str) -> UnavailableError:
        """slurmrestd does not tell a token that Slurm refuses from a Slurm that is away."""
        end = self._credentials().expires()
        if end and end < datetime.now(UTC):
            return UnavailableError("LoginRefused", f"the token for slurmrestd ended at {end:%Y-%m-%d %H:%M} UTC")
        return UnavailableError("HpcUnavailable", f"slurmrestd cannot ask Slurm, which is away or refuses the token: {said}")

    def _http(self) -> httpx2.AsyncClient:
        if self._client is None:
            credentials = self._credentials()
            if not credentials.token:
                raise UnavailableError("CredentialsUnfit", "the backend's Secret has no slurm-token")
            trust = ssl.create_default_context(cadata=credentials.authority or None)
            headers = {"X-SLURM-USER-NAME": credentials.username, "X-SLURM-USER-TOKEN": credentials.token}
            self._client = httpx2.AsyncClient(headers=headers, verify=trust, timeout=ANSWER_S)
        return self._client


async def _remove(files: asyncssh.SFTPClient, folder: bytes) -> None:
    """A folder with everything in it; the library's own way stops at a name with a backslash."""
    async for entry in files.scandir(folder):
        name = entry.filename if isinstance(entry.filename, bytes) else entry.filename.encode(errors="surrogateescape")
        if name in {b".", b".."} or b"/" in name:
            continue
        if entry.attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY:
            await _remove(files, folder + b"/" + name)
        else:
            await files.unlink(folder + b"/" + name)
    await files.rmdir(folder)


def _sum_line(path: str, digest: str) -> str:
    """As sha256sum writes and checks it: with a backslash where the name has a character of its own."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n")
    mark = "\\" if escaped != path else ""
    return f"{mark}{digest}  {escaped}\n"
