"""The transport to a login node that has Slurm's commands: one SSH connection, on which every command and file goes."""

from __future__ import annotations

import asyncio
import io
import shlex
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

import asyncssh

from hpc_connector.clients.credentials import Credentials
from hpc_connector.clients.home import Home
from hpc_connector.clients.job_files import JobFiles, bytes_of
from hpc_connector.clients.remote import attempt_files, script
from hpc_connector.clients.shares import Shares
from hpc_connector.clients.ssh_connection import SshConnection
from hpc_connector.domain.answers import LIST_BYTES, SMALL_BYTES, number_of, part_of, sums_of
from hpc_connector.domain.errors import RefusedError, UnavailableError
from hpc_connector.domain.passing import passes
from hpc_connector.domain.request import Request
from hpc_connector.domain.seen import Seen, read_poll
from hpc_connector.domain.submission import comment, sbatch_options
from hpc_connector.domain.text import readable
from primage.contract.hpc import NO_IMAGE, Backend

REFUSED = 65
"""Status of a script that says why a job can never run there."""
SBATCH_REFUSED = 66
"""Status of submit.sh where sbatch says no, in words that tell whether it may say yes the next time."""
TIMED_OUT = 124
"""What `timeout` ends with."""
COMMAND_S = 60.0
LISTING_S = 600.0
"""For reading files there from end to end, to know their digests."""
POLL_BYTES = 4 << 20
"""Of one look: a thousand attempts take 200 kB."""
STDERR_BYTES = 4096
GRACE_S = 15.0
BLOCK = 64 * 1024
CANCEL_S = 20
SESSIONS = 6
"""At a time; an OpenSSH server's default allows ten on a connection, of which one is for files and one for looking."""


class ShellTransport:
    """Asks Slurm by its own commands; each step is one command, a script of folder `remote`. A `Transport`.

    Args:
        owner: what tells this cluster's and namespace's jobs from others' of the same account.
        credentials: asked again for every connection.
    """

    def __init__(self, backend: Backend, owner: str, credentials: Callable[[], Credentials], shares: Shares) -> None:
        self.commands = 0
        self._backend = backend
        self._owner = owner
        self._ssh = SshConnection(backend, credentials, self._find_root)
        self._files = JobFiles(self._ssh, shares)
        self._sessions = asyncio.Semaphore(SESSIONS)

    # -- what is asked of it ---------------------------------------------------------------------------------------

    async def submit(self, request: Request, attempt: int) -> str:
        """Slurm's number of the attempt; submitted now, or by an earlier call that was cut off. Empty when it is over."""
        image = "" if request.image == NO_IMAGE else request.image
        options = sbatch_options(request, self._backend, self._owner, attempt)
        said = comment(self._owner, request.uid, attempt)
        root = await self._ssh.root()
        number = await self._run(
            "submit", root, request.uid, str(attempt), said, image, self._backend.datalake, *options, stdin=self._attempt(request)
        )
        return number_of(number)

    def _attempt(self, request: Request) -> bytes:
        """The attempt's files as a tar archive."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, (text, mode) in attempt_files(request, self._ssh.proxy()).items():
                data = text.encode()
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), mode
                archive.addfile(info, io.BytesIO(data))
        return stream.getvalue()

    async def look(self, attempts: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], Seen]:
        """What Slurm has of this namespace, and the results of these attempts, by one command."""
        names = "".join(f"{uid}/{attempt}/{number}\n" for (uid, attempt), number in attempts.items()).encode()
        line = self._line("poll", await self._ssh.root(), self._owner)
        # Beside the others' sessions: jobs whose commands hang must not keep anybody from looking.
        said = await self._on(await self._ssh.connection(), line, names, COMMAND_S, POLL_BYTES)
        return read_poll(said, self._owner, attempts)

    async def cancel(self, uid: str, number: str = "") -> bool:
        """Return once none of the job's attempts lives; says whether there has been anything of the job."""
        said = await self._run("cancel", await self._ssh.root(), uid, str(CANCEL_S), number, timeout=CANCEL_S + COMMAND_S)
        return said.strip() == "known"

    async def forget(self, uid: str) -> bool:
        """Remove the job's working folder; says whether there was one."""
        return (await self._run("forget", await self._ssh.root(), uid, timeout=LISTING_S)).strip() == "known"

    async def bring(self, request: Request, home: Home) -> None:
        """Copy the inputs there, what is there already excepted; goes on where an earlier call was cut off."""
        if not request.inputs:
            return
        root = await self._ssh.root()
        await self._run("prepare", root, request.uid)
        wanted = await home.files(request.inputs)
        folder = f"{root}/{request.uid}/mount/HOME/private"
        there = await self._sums(folder, wanted)
        try:
            for path, digest in wanted.items():
                if there.get(path) != digest:
                    await self._bring_one(home, path, part_of(request.uid, path, digest), digest, folder)
        except (OSError, asyncssh.Error) as error:
            raise self._ssh.lost(error) from error

    async def _bring_one(self, home: Home, path: str, part: str, digest: str, folder: str) -> None:
        files = await self._ssh.sftp()
        target, at = bytes_of(f"{folder}/{path}"), bytes_of(f"{folder}/{part}")
        await files.makedirs(bytes_of(str(PurePosixPath(f"{folder}/{path}").parent)), exist_ok=True)
        await self._files.upload(files, home, path, f"{folder}/{part}")
        if (await self._sums(folder, [part])).get(part) != digest:
            await files.remove(at)
            raise UnavailableError("StagingIn", f"{readable(path, 200)} did not arrive whole; it is sent again")
        await files.posix_rename(at, target)

    async def output(self, uid: str, attempt: int, offset: int, home: Home, log: str, at: int, most: int) -> int:
        """Copy the next part of an attempt's output into HOME; says how much, 0 at its end."""
        return await self._files.output(uid, attempt, offset, home, log, at, most)

    async def fetch(self, request: Request, home: Home) -> None:
        """Copy the outputs here, what is here already excepted; goes on where an earlier call was cut off.

        Raises:
            RefusedError: something of what the job names is not there, or is not a file in its HOME; the rest is here then.
        """
        if not request.outputs:
            return
        folder = f"{await self._ssh.root()}/{request.uid}/mount/HOME/private"
        text = await self._run("results", folder, *request.outputs, timeout=LISTING_S, most=LIST_BYTES)
        sums, _, missing = text.rpartition("\0\0")
        try:
            made = sums_of(sums)
        except ValueError as error:
            raise RefusedError("OutputMissing", str(error)) from error
        await self._files.take(request, made, home)
        if missing.strip():
            raise RefusedError("OutputMissing", readable(missing.strip(), SMALL_BYTES))

    async def close(self) -> None:
        """End the connection; the next command makes a new one, with the credentials of then."""
        await self._ssh.close()

    # -- the connection --------------------------------------------------------------------------------------------

    async def _find_root(self, connection: asyncssh.SSHClientConnection) -> str:
        return await self._on(connection, self._line("connect", self._backend.scratch), None, COMMAND_S, SMALL_BYTES)

    @staticmethod
    def _line(name: str, *arguments: str) -> str:
        text = script("outputs") + script(name) if name == "results" else script(name)
        return " ".join(["bash", "-c", shlex.quote(text), "primage", *map(shlex.quote, arguments)])

    async def _run(
        self, name: str, *arguments: str, stdin: bytes | None = None, timeout: float = COMMAND_S, most: int = SMALL_BYTES
    ) -> str:
        async with self._sessions:
            # Only now: the connection may have been given up while others had all the sessions.
            return await self._on(await self._ssh.connection(), self._line(name, *arguments), stdin, timeout, most)

    async def _on(self, connection: asyncssh.SSHClientConnection, line: str, stdin: bytes | None, timeout: float, most: int) -> str:
        """What a command prints, of which no more than `most` bytes are read."""
        self.commands += 1
        try:
            # There too: what hangs would keep its session, of which a login node allows a few.
            limited = f"timeout --kill-after=5 {timeout:.0f} {line}"
            async with asyncio.timeout(timeout + GRACE_S):
                process = await connection.create_process(limited, encoding=None)
                try:
                    said, errors = await _talk(process, stdin or b"", most)
                finally:
                    process.close()
        except TimeoutError as error:
            # This command hangs, and nothing is known of others': a dead connection is found by its keepalives.
            raise UnavailableError("HpcUnavailable", f"a command did not end within {timeout:.0f} s") from error
        except (OSError, asyncssh.Error) as error:
            raise self._ssh.lost(error) from error
        words = readable(errors.decode(errors="replace").strip()[-1000:])
        if said is None:
            raise UnavailableError("HpcUnavailable", f"a command printed more than {most} bytes: {words}")
        if process.returncode is None:
            # Nothing that it printed counts, and nobody knows what it has done: as with a connection that is lost.
            raise UnavailableError("ConnectionLost", f"{self._backend.endpoint} ended a command's session before the command ended")
        if process.returncode == REFUSED or (process.returncode == SBATCH_REFUSED and not passes(words)):
            raise RefusedError("SubmitRefused", words.removeprefix("sbatch: error: ") or "no reason given")
        if process.returncode == TIMED_OUT:
            raise UnavailableError("HpcUnavailable", f"a command did not end there within {timeout:.0f} s: {words}")
        if process.returncode:
            raise UnavailableError("HpcUnavailable", words or f"a command ended with status {process.returncode}")
        return said.decode(errors="surrogateescape")

    async def _sums(self, folder: str, paths: Iterable[str]) -> dict[str, str]:
        names = "\0".join(paths).encode(errors="surrogateescape")
        try:
            return sums_of(await self._run("sums", folder, stdin=names, timeout=LISTING_S, most=LIST_BYTES))
        except ValueError as error:
            raise UnavailableError("HpcUnavailable", f"the inputs that are there cannot be told: {error}") from error


async def _talk(process: asyncssh.SSHClientProcess[bytes], stdin: bytes, most: int) -> tuple[bytes | None, bytes]:
    """What a process prints, None where that is more than `most`, and the last of its errors, when it has ended."""

    async def answer() -> bytes | None:
        found = bytearray()
        while block := await process.stdout.read(BLOCK):
            found += block
            if len(found) > most:
                process.close()
                return None
        return bytes(found)

    async def errors() -> bytes:
        last = b""
        while block := await process.stderr.read(BLOCK):
            last = (last + block)[-STDERR_BYTES:]
        return last

    async def ask() -> None:
        try:
            for at in range(0, len(stdin), BLOCK):
                process.stdin.write(stdin[at : at + BLOCK])
                await process.stdin.drain()
            process.stdin.write_eof()
        except (BrokenPipeError, ConnectionError):
            pass  # it did not want to know more; what it says counts

    _, said, wrong = await asyncio.gather(ask(), answer(), errors())
    await process.wait_closed()
    return said, wrong
