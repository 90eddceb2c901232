"""A backend that is asked by Slurm's REST daemon, with nothing but SFTP for files: no command runs on the login node.

https://slurm.schedmd.com/rest_api.html, OpenAPI plugin v0.0.38 (Slurm 22.05 to 23.02). What a shell does elsewhere, the
job does itself: it checks what was brought before it begins, and says what it made (remote/run.sh).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

import asyncssh
import httpx2
import msgspec

from hpc_connector.connection import LIST_BYTES, SMALL_BYTES, Connection, Credentials, bytes_of, number_of, part_of, sums_of
from hpc_connector.domain import (
    LIVE,
    Backend,
    RefusedError,
    Request,
    Seen,
    UnavailableError,
    expanded,
    read_queue,
    readable,
    rest_submission,
    result_of,
)
from hpc_connector.files import Home

API = "slurm/v0.0.38"
ANSWER_S = 30.0
CANCEL_S = 20.0
JSON_BYTES = 24 << 20
"""Of one answer of slurmrestd: a job takes 5 kB of it, and only a few words of each are kept."""
AT_A_TIME = 32
"""File requests under way; all of them share one connection."""
PASSES = (
    "Unable to contact",
    "ocket timed out",
    "temporarily",
    "No space left",
    "AssocMaxSubmit",
    "QOSMaxSubmit",
    "Zero Bytes",
    "Unspecified error",
)


class RestAccount(Connection):
    """Asks slurmrestd; files go by SFTP."""

    def __init__(self, backend: Backend, owner: str, credentials: Callable[[], Credentials]) -> None:
        super().__init__(backend, owner, credentials)
        self._client: httpx2.AsyncClient | None = None
        self._at_a_time = asyncio.Semaphore(AT_A_TIME)
        self._results: dict[tuple[str, int], dict[str, Any]] = {}

    # -- what is asked of it ---------------------------------------------------------------------------------------

    async def submit(self, request: Request, attempt: int) -> str:
        """Slurm's number of the attempt; submitted now, or by an earlier call that was cut off. Empty when it is over."""
        at = f"{await self._ready()}/{request.uid}/{attempt}"
        async with self._filing() as files:
            if number := await self._text(files, f"{at}/number"):
                return number_of(number)
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
            number = answer.job_id
            if number is None:
                raise UnavailableError("HpcUnavailable", "slurmrestd took the job and does not say its number")
            return str(number)
        except RefusedError:
            # It also complains of what it has taken: "Required node not available" is said of a job that waits for the node.
            taken = (await self._queue()).get((request.uid, attempt))
            if taken is None:
                raise
            return taken["slurm"]

    async def look(self, attempts: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Seen]:
        """What Slurm has of this namespace, by one question to slurmrestd, and the files of these attempts."""
        keys = list(attempts)
        queue = await self._queue()
        await self._ready()
        async with self._filing() as files:
            found = await asyncio.gather(*(self._files_of(files, key) for key in keys))
        self._results = {key: self._results[key] for key in keys if key in self._results}
        about = dict(zip(keys, found, strict=True))
        return {key: Seen(**{**queue.get(key, {}), **about.get(key, {})}) for key in {*queue, *about}}

    async def cancel(self, uid: str) -> bool:
        """Return once none of the job's attempts lives; says whether there has been anything of the job."""
        end = asyncio.get_running_loop().time() + CANCEL_S
        known = False
        while True:
            queue = await self._queue()
            alive = [job["slurm"] for (whose, _), job in queue.items() if whose == uid and job["state"] in LIVE]
            known = known or any(whose == uid for whose, _ in queue)
            if not alive:
                return known or await self._has_folder(uid)
            for number in alive:
                await self._ask("DELETE", f"job/{number}")
            if asyncio.get_running_loop().time() > end:
                raise UnavailableError("HpcUnavailable", f"still there: {', '.join(alive)}")
            await asyncio.sleep(0.3)

    async def forget(self, uid: str) -> bool:
        """Remove the job's working folder; says whether there was one."""
        if not await self._has_folder(uid):
            return False
        async with self._filing() as files:
            await _remove(files, f"{self._root}/{uid}".encode())
        return True

    async def _has_folder(self, uid: str) -> bool:
        root = await self._ready()
        async with self._filing() as files:
            return bool(await files.exists(f"{root}/{uid}"))

    async def bring(self, request: Request, home: Home) -> None:
        """Copy the inputs there, what is there at its full length excepted; the job itself checks what arrived."""
        if not request.inputs:
            return
        work = f"{await self._ready()}/{request.uid}"
        folder = f"{work}/mount/HOME/private"
        async with self._filing() as files:
            await files.makedirs(folder, exist_ok=True)
        wanted = await asyncio.to_thread(home.files, request.inputs)
        async with self._filing() as files:
            for path, digest in wanted.items():
                parent = str(PurePosixPath(f"{folder}/{path}").parent)
                coming = f"{folder}/{part_of(request.uid, path, digest)}"
                target, part, above = map(bytes_of, (f"{folder}/{path}", coming, parent))
                size = await asyncio.to_thread(home.size, path)
                if not (await files.exists(target) and await files.getsize(target) == size):
                    await files.makedirs(above, exist_ok=True)
                    await self._upload(files, home, path, coming)
                    await files.posix_rename(part, target)
            await self._put(files, f"{work}/inputs", "".join(map(_sum_line, wanted, wanted.values())), 0o600)

    async def fetch(self, request: Request, home: Home) -> None:
        """Copy the outputs here, of which the job has said what they are; what is here already excepted.

        Raises:
            RefusedError: something of what the job names is not there, or is no file in its HOME; the rest is here then.
        """
        if not request.outputs:
            return
        work = f"{await self._ready()}/{request.uid}"
        async with self._filing() as files:
            missing = await self._text(files, f"{work}/missing")
            try:
                made = sums_of(await self._text(files, f"{work}/sums", LIST_BYTES))
            except ValueError as error:
                raise RefusedError("OutputMissing", str(error)) from error
        await self.take(request, made, home)
        if missing or not made:
            raise RefusedError("OutputMissing", readable(missing or "the job left no list of what it made"))

    async def close(self) -> None:
        """End the connection; the next request makes a new one, with the credentials of then."""
        await super().close()
        client, self._client = self._client, None
        if client:
            await client.aclose()

    # -- files -----------------------------------------------------------------------------------------------------

    async def _find_root(self, connection: asyncssh.SSHClientConnection) -> str:
        """Only HOME and USER stand for something here: there is no shell to ask for more."""
        async with connection.start_sftp_client() as files:
            home = str(await files.realpath("."))
            scratch = expanded(self.backend.scratch, {"HOME": home, "USER": self._credentials().username})
            if scratch is None:
                raise UnavailableError("BackendUnfit", f"without a shell nobody knows what {self.backend.scratch} means there")
            await files.makedirs(f"{scratch}/primage", attrs=asyncssh.SFTPAttrs(permissions=0o700), exist_ok=True)
            return f"{scratch}/primage"

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

    async def _files_of(self, files: asyncssh.SFTPClient, key: tuple[str, int]) -> dict[str, Any]:
        """How much an attempt has written, and its result; what somebody put there in place of a file is as good as nothing."""
        at = f"{self._root}/{key[0]}/{key[1]}"
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

    # -- slurmrestd ------------------------------------------------------------------------------------------------

    async def _queue(self) -> dict[tuple[str, int], dict[str, str]]:
        jobs = (await self._ask("GET", "jobs")).jobs
        if jobs is None:  # not the same as none: every job would be taken for lost
            raise UnavailableError("HpcUnavailable", "slurmrestd does not say which jobs there are")
        return read_queue(jobs, self.owner)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> _Answer:
        self.commands += 1
        try:
            async with self._http().stream(method, f"{self.backend.slurmrestd}/{API}/{path}", json=body) as answer:
                status, data = answer.status_code, await _at_most(answer, JSON_BYTES)
            found = msgspec.json.decode(data, type=_Answer)
        except (httpx2.HTTPError, OSError) as error:
            raise UnavailableError("Unreachable", f"slurmrestd cannot be reached: {error or type(error).__name__}") from error
        except (ValueError, RecursionError) as error:
            words = f"slurmrestd answered what is no answer of its, or longer than {JSON_BYTES} bytes: {error}"
            raise UnavailableError("HpcUnavailable", readable(words, 300)) from error
        said = readable("; ".join(error.words for error in found.errors or []), 1000)
        if method == "POST" and said and not any(words in said for words in PASSES):
            raise RefusedError("SubmitRefused", said)
        if method != "DELETE" and (said or status >= HTTPStatus.MULTIPLE_CHOICES):
            raise self._unavailable(said or f"it answered {status}")
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
            headers = {
                "X-SLURM-USER-NAME": credentials.username,
                "X-SLURM-USER-TOKEN": credentials.token,
                "Accept-Encoding": "identity",  # nothing that grows while it is read
            }
            # No proxy of the environment's, and no redirection: the token goes to the site's URL and nowhere else.
            self._client = httpx2.AsyncClient(
                headers=headers, verify=trust, timeout=ANSWER_S, trust_env=False, follow_redirects=False
            )
        return self._client


class _Complaint(msgspec.Struct):
    """One of an answer's `errors`."""

    error: str | None = None
    description: str | None = None

    @property
    def words(self) -> str:
        return self.error or self.description or "an error without words"


class _Answer(msgspec.Struct):
    """What counts of an answer; each job is read on its own, so that one that is odd harms no other."""

    jobs: list[msgspec.Raw] | None = None
    errors: list[_Complaint] | None = None
    job_id: int | None = None


async def _at_most(answer: httpx2.Response, most: int) -> bytes:
    found = bytearray()
    async for block in answer.aiter_raw():
        found += block
        if len(found) > most:
            raise ValueError(f"more than {most} bytes")
    return bytes(found)


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
