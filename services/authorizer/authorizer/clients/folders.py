"""What is asked of the container that makes folders and keeps the audit log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from authorizer.domain.errors import RefusedError, WaitingError
from primage.contract.audit import Line
from primage.contract.tenant_objects.folders import Folder

TIMEOUT_S = 30
LONGEST = 64 * 1024
LINES = 3
"""Of the audit log in one question, however long each is."""
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
        """Have folders made; what could not be, each in a sentence.

        Raises:
            WaitingError: nobody answers now.
        """
        return await self._ask([folder._asdict() for folder in folders])

    async def write(self, lines: Sequence[Line]) -> None:
        """Have lines written to the audit log; they are on the disk when it returns.

        Raises:
            RefusedError: they cannot be.
            WaitingError: nobody answers now.
        """
        for first in range(0, len(lines), LINES):
            if problems := await self._ask({"lines": [line.text() for line in lines[first : first + LINES]]}):
                raise RefusedError(f"the audit log cannot be written, and no role is given without it: {'; '.join(problems)}")

    async def _ask(self, question: Any) -> list[str]:
        try:
            async with self._turn, asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._socket, limit=LONGEST)
                try:
                    writer.write(json.dumps(question).encode() + b"\n")
                    await writer.drain()
                    answer = await reader.readline()
                finally:
                    writer.close()
            return [str(problem) for problem in json.loads(answer)["problems"]]
        except (OSError, TimeoutError, ValueError, KeyError) as error:
            raise WaitingError(f"folders cannot be made now: {error or type(error).__name__}") from error
