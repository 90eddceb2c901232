"""A private folder of HOME, as the container that reads and writes it answers: `python -m hpc_connector.home`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hpc_connector.domain.errors import RefusedError, UnavailableError

CONNECTIONS = 2
"""Of one folder at a time: a job with inputs without end must not keep others' output waiting."""
KEEP_S = 5.0
"""How long a connection stays after its last use: there is a process at its other end."""
LONGEST = 64 << 20
"""Bytes of an answer's line: the names and digests of all of a job's inputs."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Home:
    """The private folder of HOME of one tenant; paths are given below it. Any of it raises UnavailableError for what may pass.

    Args:
        socket: where the other container listens.
        folder: the tenant's, by its name.
    """

    def __init__(self, socket: Path, folder: str) -> None:
        self._socket = socket
        self._folder = folder
        self._turn = asyncio.Semaphore(CONNECTIONS)
        self._kept: list[tuple[Connection, asyncio.TimerHandle]] = []

    async def files(self, inputs: tuple[str, ...]) -> dict[str, str]:
        """SHA-256 by path of every file in the inputs; links, pipes and devices inside folders are left out.

        Raises:
            RefusedError: one is not there, or not a file or folder, or there are too many.
        """
        found: dict[str, str] = (await self._ask("files", paths=list(inputs)))[0]
        return found

    async def size(self, below: str) -> int:
        """Bytes in a file, 0 where there is none."""
        return int((await self._ask("size", path=below))[0])

    async def digest(self, below: str) -> str:
        """SHA-256 of a file, empty where there is none."""
        return str((await self._ask("digest", path=below))[0])

    async def read(self, below: str, offset: int, most: int) -> bytes:
        """Part of a file, which is a regular one; nothing at its end."""
        return (await self._ask("read", path=below, offset=offset, most=most))[1]

    async def tail(self, below: str, most: int) -> bytes:
        """The last bytes of a file, however long it is; nothing where there is none that can be read."""
        return (await self._ask("tail", path=below, most=most))[1]

    async def write_at(self, below: str, offset: int, data: bytes) -> None:
        """Write part of a file, and its end there, in folders that are made where they are not there; see it kept."""
        await self._ask("write_at", data, path=below, offset=offset)

    async def replace(self, part: str, below: str) -> None:
        """Give a file its final name in the same folder, in place of what has it, and see it kept."""
        await self._ask("replace", part=part, path=below)

    async def remove(self, below: str) -> None:
        """Remove a file, where it is there."""
        await self._ask("remove", path=below)

    def close(self) -> None:
        """End the connections that are kept."""
        while self._kept:
            connection, timer = self._kept.pop()
            timer.cancel()
            connection[1].close()

    async def _ask(self, operation: str, data: bytes = b"", **given: Any) -> tuple[Any, bytes]:
        try:
            async with self._turn, self._connection() as connection:
                return await _question(connection, {"do": operation, **given}, data)
        except (OSError, EOFError, ValueError, KeyError) as error:
            raise UnavailableError("HomeUnavailable", f"HOME cannot be reached: {error or type(error).__name__}") from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """One that is kept, or another; kept for a while after its use, unless that went wrong in the middle."""
        if self._kept:
            connection, timer = self._kept.pop()
            timer.cancel()
        else:
            connection = await self._connect()
        try:
            yield connection
        except (RefusedError, UnavailableError):
            self._keep(connection)
            raise
        except BaseException:
            connection[1].close()
            raise
        self._keep(connection)

    def _keep(self, connection: Connection) -> None:
        kept = (connection, asyncio.get_running_loop().call_later(KEEP_S, lambda: self._let_go(connection)))
        self._kept.append(kept)

    def _let_go(self, connection: Connection) -> None:
        self._kept = [kept for kept in self._kept if kept[0] is not connection]
        connection[1].close()

    async def _connect(self) -> Connection:
        connection = await asyncio.open_unix_connection(self._socket, limit=LONGEST)
        try:
            connection[1].write(json.dumps({"folder": self._folder}).encode() + b"\n")
            await _answer(connection)
        except BaseException:
            connection[1].close()
            raise
        return connection


async def _question(connection: Connection, asked: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    connection[1].write(json.dumps({**asked, "bytes": len(data)}).encode() + b"\n" + data)
    await connection[1].drain()
    return await _answer(connection)


async def _answer(connection: Connection) -> tuple[Any, bytes]:
    line = await connection[0].readline()
    if not line:
        raise EOFError("the container that reads and writes it ended the connection")
    said = json.loads(line)
    if error := said.get("error"):
        kind = RefusedError if error["kind"] == "refused" else UnavailableError
        raise kind(str(error["reason"]), str(error["message"]))
    return said["value"], await connection[0].readexactly(int(said["bytes"]))
