"""What the connector asks of an HPC centre, whichever way it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hpc_connector.clients.home import Home
from hpc_connector.domain.request import Request
from hpc_connector.domain.seen import Seen


class Transport(Protocol):
    """One backend as one of its users; safe to use from many tasks.

    Every step may be repeated, also by another process after this one was cut off anywhere: what was done already is found done.
    Any of them raises UnavailableError for what may pass, and RefusedError for what this one job can never have.
    """

    @property
    def commands(self) -> int:
        """How often the centre was asked something."""
        ...

    async def bring(self, request: Request, home: Home) -> None:
        """Copy a job's inputs there, what is there already excepted."""
        ...

    async def submit(self, request: Request, attempt: int) -> str:
        """Slurm's number of the attempt; submitted now, or by an earlier call that was cut off. Empty when it is over."""
        ...

    async def look(self, attempts: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], Seen]:
        """What Slurm has of this namespace, and the results of these attempts.

        Args:
            attempts: Slurm's number of each, by Job's uid and the attempt's own; empty where it is not known.
        """
        ...

    async def output(self, uid: str, attempt: int, offset: int, home: Home, log: str, at: int, most: int) -> int:
        """Copy the next part of an attempt's output, from `offset`, into HOME's file `log` at `at`; says how much, 0 at its end.

        Args:
            most: how much at most.
        """
        ...

    async def fetch(self, request: Request, home: Home) -> None:
        """Copy a job's outputs here, what is here already excepted.

        Raises:
            RefusedError: something of what the job names is not there, or is not a file in its HOME; the rest is here then.
        """
        ...

    async def cancel(self, uid: str, number: str = "") -> bool:
        """Return once none of the job's attempts lives; says whether there has been anything of the job.

        Args:
            number: Slurm's, of the latest attempt, where it is known.
        """
        ...

    async def forget(self, uid: str) -> bool:
        """Remove the job's working folder; says whether there was one."""
        ...

    async def close(self) -> None:
        """End the connection; the next question makes a new one, with the credentials of then."""
        ...
