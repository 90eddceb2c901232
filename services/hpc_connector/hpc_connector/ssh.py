"""A backend whose login node has Slurm's commands: one SSH connection, on which every command and transfer goes."""

from __future__ import annotations

import asyncio
import io
import shlex
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import asyncssh

from hpc_connector.connection import Connection, Credentials, script, sums_of, upload
from hpc_connector.domain import (
    NO_IMAGE,
    Backend,
    RefusedError,
    Request,
    Seen,
    UnavailableError,
    comment,
    read_poll,
    sbatch_options,
)
from hpc_connector.files import Home

TEMPORARY = 75
REFUSED = 65
COMMAND_S = 60.0
CANCEL_S = 20
SESSIONS = 6
"""At a time; an OpenSSH server's default allows ten on a connection, of which one is for files and one for looking."""


class Account(Connection):
    """Asks Slurm by its own commands; each step is one command, a script of folder `remote`."""

    def __init__(self, backend: Backend, owner: str, credentials: Callable[[], Credentials]) -> None:
        super().__init__(backend, owner, credentials)
        self._sessions = asyncio.Semaphore(SESSIONS)

    # -- what is asked of it ---------------------------------------------------------------------------------------

    async def submit(self, request: Request, attempt: int) -> str:
        """Slurm's number of the attempt; submitted now, or by an earlier call that was cut off. Empty when it is over."""
        image = "" if request.image == NO_IMAGE else request.image
        options = sbatch_options(request, self.backend, self.owner, attempt)
        said = comment(self.owner, request.uid, attempt)
        root = await self._ready()
        number = await self._run(
            "submit", root, request.uid, str(attempt), said, image, self.backend.datalake, *options, stdin=self._attempt(request)
        )
        return "" if number.strip() == "started" else number.strip()

    def _attempt(self, request: Request) -> bytes:
        """The attempt's files as a tar archive."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, (text, mode) in self.attempt_files(request).items():
                data = text.encode()
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), mode
                archive.addfile(info, io.BytesIO(data))
        return stream.getvalue()

    async def look(self) -> dict[tuple[str, int], Seen]:
        """All of this namespace's attempts, by one command."""
        return read_poll(await self._run("poll", await self._ready()), self.owner)

    async def cancel(self, uid: str) -> None:
        """Return once none of the job's attempts lives."""
        await self._run("cancel", uid, str(CANCEL_S), timeout=CANCEL_S + COMMAND_S)

    async def forget(self, uid: str) -> None:
        """Remove the job's working folder."""
        root = await self._ready()
        await self._command(f"rm -rf -- {shlex.quote(f'{root}/{uid}')}")

    async def bring(self, request: Request, home: Home) -> None:
        """Copy the inputs there, what is there already excepted; goes on where an earlier call was cut off."""
        if not request.inputs:
            return
        root = await self._ready()
        await self._run("prepare", root, request.uid)
        wanted = await asyncio.to_thread(home.files, request.inputs)
        folder = f"{root}/{request.uid}/mount/HOME/private"
        there = await self._sums(folder, wanted)
        try:
            files = await self._sftp()
            for path, digest in wanted.items():
                if there.get(path) != digest:
                    await files.makedirs(f"{folder}/{Path(path).parent}", exist_ok=True)
                    await upload(files, home.path(path), f"{folder}/{path}.part")
                    if (await self._sums(folder, [f"{path}.part"])).get(f"{path}.part") != digest:
                        await files.remove(f"{folder}/{path}.part")
                        raise UnavailableError("StagingIn", f"{path} did not arrive whole; it is sent again")
                    await files.posix_rename(f"{folder}/{path}.part", f"{folder}/{path}")
        except (OSError, asyncssh.Error) as error:
            raise self._lost(error) from error

    async def fetch(self, request: Request, home: Home) -> None:
        """Copy the outputs here, what is here already excepted; goes on where an earlier call was cut off."""
        if not request.outputs:
            return
        folder = f"{await self._ready()}/{request.uid}/mount/HOME/private"
        try:
            made = sums_of(await self._run("results", folder, *request.outputs, timeout=600))
        except RefusedError as error:
            raise RefusedError("OutputMissing", str(error)) from error
        await self.take(request, made, home)

    # -- the connection --------------------------------------------------------------------------------------------

    async def _find_root(self, connection: asyncssh.SSHClientConnection) -> str:
        return (await self._on(connection, self._line("connect", self.backend.scratch), None, COMMAND_S)).strip()

    @staticmethod
    def _line(name: str, *arguments: str) -> str:
        return " ".join(["bash", "-c", shlex.quote(script(name)), "primage", *map(shlex.quote, arguments)])

    async def _run(self, name: str, *arguments: str, stdin: bytes | None = None, timeout: float = COMMAND_S) -> str:
        return await self._command(self._line(name, *arguments), stdin, timeout)

    async def _command(self, line: str, stdin: bytes | None = None, timeout: float = COMMAND_S) -> str:
        await self._ready()
        assert self._connection is not None
        async with self._sessions:
            return await self._on(self._connection, line, stdin, timeout)

    async def _on(self, connection: asyncssh.SSHClientConnection, line: str, stdin: bytes | None, timeout: float) -> str:
        self.commands += 1
        try:
            done = await connection.run(line, input=stdin or b"", encoding=None, timeout=timeout)
        except (OSError, asyncssh.Error, TimeoutError) as error:
            raise self._lost(error) from error
        said = _text(done.stderr).strip()[-1000:]
        if done.returncode == REFUSED:
            raise RefusedError("SubmitRefused", said.removeprefix("sbatch: error: ") or "no reason given")
        if done.returncode:
            raise UnavailableError("HpcUnavailable", said or f"a command ended with status {done.returncode}")
        return _text(done.stdout)

    async def _sums(self, folder: str, paths: Iterable[str]) -> dict[str, str]:
        names = "\0".join(paths).encode(errors="surrogateescape")
        return sums_of(await self._run("sums", folder, stdin=names, timeout=600))


def _text(data: Any) -> str:
    return bytes(data or b"").decode(errors="surrogateescape")
