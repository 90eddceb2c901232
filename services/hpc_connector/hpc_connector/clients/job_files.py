"""Files of jobs, between HOME here and their working folders there, by SFTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh

from hpc_connector.clients.home import Home
from hpc_connector.clients.shares import Shares
from hpc_connector.clients.ssh_connection import SshConnection
from hpc_connector.domain.answers import part_of
from hpc_connector.domain.errors import RefusedError
from hpc_connector.domain.request import Request, is_output
from hpc_connector.domain.text import readable

CHUNK = 256 * 1024
AT_ONCE = 4
BLOCK = CHUNK * AT_ONCE
COPIES = 2
"""Blocks of files in memory at a time, of at most BLOCK bytes each, however many jobs of a namespace copy something."""
BLOCK_S = 60.0
"""For one block of a file: a server that hangs is let go and asked again on a new connection."""
FETCHES = 3
"""How often a file that does not arrive as it was announced is fetched again, before its job fails."""


class JobFiles:
    """Copies to and from one backend; each goes on where an earlier one was cut off."""

    def __init__(self, ssh: SshConnection, shares: Shares) -> None:
        self._ssh = ssh
        self._blocks = shares.blocks
        self._copies = asyncio.Semaphore(COPIES)

    @asynccontextmanager
    async def _copying(self) -> AsyncIterator[None]:
        """While a block is in memory: first of the own places, so that who waits there holds none of the others'."""
        async with self._copies, self._blocks:
            yield

    async def output(self, uid: str, attempt: int, offset: int, home: Home, log: str, at: int, most: int) -> int:
        """Copy the next part of an attempt's output, from `offset`, into HOME's file `log` at `at`; says how much, 0 at its end.

        Args:
            most: how much at most.
        """
        path = f"{await self._ssh.root()}/{uid}/{attempt}/output"
        try:
            files = await self._ssh.sftp()
            async with self._copying():
                async with asyncio.timeout(BLOCK_S):
                    if await _kind(files, path) != asyncssh.FILEXFER_TYPE_REGULAR:
                        return 0
                    async with files.open(path, "rb") as stream:
                        data: Any = await stream.read(min(most, BLOCK), offset)
                    if data:
                        await home.write_at(log, at, bytes(data))
                return len(data)
        except asyncssh.SFTPNoSuchFile:
            return 0
        except (OSError, asyncssh.Error) as error:
            raise self._ssh.lost(error) from error

    async def take(self, request: Request, made: dict[str, str], home: Home) -> None:
        """Copy files of a job's HOME here, of which the SHA-256 is known; what is here already is left alone."""
        folder = f"{await self._ssh.root()}/{request.uid}/mount/HOME/private"
        try:
            for path, digest in made.items():
                if not is_output(path, request.outputs):
                    raise RefusedError("OutputMissing", f"{readable(path, 200)!r} is in none of the outputs the job names")
                if await home.digest(path) == digest:
                    continue
                await self._take_one(f"{folder}/{path}", path, part_of(request.uid, path, digest), digest, home)
        except (OSError, asyncssh.Error) as error:
            raise self._ssh.lost(error) from error

    async def _take_one(self, source: str, path: str, part: str, digest: str, home: Home) -> None:
        for _ in range(FETCHES):
            await self._download(source, part, home)
            if await home.digest(part) == digest:
                await home.replace(part, path)
                return
            await home.remove(part)
        raise RefusedError("OutputMissing", f"{readable(path, 200)} is not what it was when the job ended: something changes it")

    async def _download(self, source: str, part: str, home: Home) -> None:
        """Fetch a file, from where an earlier try ended."""
        files, at = await self._ssh.sftp(), bytes_of(source)
        if await _kind(files, at, follow=True) != asyncssh.FILEXFER_TYPE_REGULAR:
            raise RefusedError("OutputMissing", f"{readable(source, 400)} is not a file any more")
        offset = await home.size(part)
        async with files.open(at, "rb") as stream:
            while True:
                async with self._copying():
                    async with asyncio.timeout(BLOCK_S):
                        data: Any = await stream.read(BLOCK, offset)
                        if data or not offset:
                            await home.write_at(part, offset, bytes(data))
                if not data:
                    return
                offset += len(data)

    async def upload(self, files: asyncssh.SFTPClient, home: Home, path: str, target: str) -> None:
        """Send a file of HOME, from where an earlier try ended."""
        at = bytes_of(target)
        offset = int(await files.getsize(at) or 0) if await files.exists(at) else 0
        if offset > await home.size(path):
            await files.truncate(at, 0)
            offset = 0
        async with files.open(at, "r+b" if offset else "wb") as stream:
            while True:
                async with self._copying():
                    async with asyncio.timeout(BLOCK_S):
                        block = await home.read(path, offset, BLOCK)
                        pieces = range(0, len(block), CHUNK)
                        await asyncio.gather(*(stream.write(block[piece : piece + CHUNK], offset + piece) for piece in pieces))
                if not block:
                    return
                offset += len(block)


async def _kind(files: asyncssh.SFTPClient, path: str | bytes, *, follow: bool = False) -> int:
    """What kind of file a path is: opening a pipe would block the server, and with it everything on this connection."""
    return int((await (files.stat(path) if follow else files.lstat(path))).type)


def bytes_of(path: str) -> bytes:
    """A path as it is there, also where it is not UTF-8."""
    return path.encode(errors="surrogateescape")
