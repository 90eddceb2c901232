"""What is asked of the container that makes folders."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from authorizer.domain.errors import WaitingError
from primage.contract.tenant_objects.folders import Folder

TIMEOUT_S = 30
LONGEST = 64 * 1024
AT_ONCE = 4
"""Questions at a time: the other side answers one after the other."""


class Folders:
    """A connection for each question: they are few.

    Args:
        socket: where the other container listens.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def make(self, folders: Sequence[Folder]) -> list[str]:
        """Have folders made; what could not be, each in a sentence."""
        try:
            async with self._turn, asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._socket, limit=LONGEST)
                try:
                    writer.write(json.dumps([folder._asdict() for folder in folders]).encode() + b"\n")
                    await writer.drain()
                    answer = await reader.readline()
                finally:
                    writer.close()
            return [str(problem) for problem in json.loads(answer)["problems"]]
        except (OSError, TimeoutError, ValueError, KeyError) as error:
            raise WaitingError(f"folders cannot be made now: {error or type(error).__name__}") from error
