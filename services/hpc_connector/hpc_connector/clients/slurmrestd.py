"""Slurm's REST daemon, asked over TLS with a token.

https://slurm.schedmd.com/rest_api.html, OpenAPI plugin v0.0.38 (Slurm 22.05 to 23.02).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx2
import msgspec

from hpc_connector.clients.credentials import Credentials
from hpc_connector.clients.shares import Shares
from hpc_connector.domain.errors import RefusedError, UnavailableError
from hpc_connector.domain.passing import passes
from hpc_connector.domain.text import readable

API = "slurm/v0.0.38"
ANSWER_S = 30.0
QUEUE_S = 60.0
"""For all of the queue: other namespaces wait for their turn to read it."""
JSON_BYTES = 24 << 20
"""Of one answer: a job takes 5 kB of it, and only a few words of each are kept."""


class Slurmrestd:
    """One daemon as one of its users.

    Args:
        url: of its server; the token goes there and nowhere else.
        credentials: asked again for every connection.

    Attributes:
        questions: how often it was asked something.
    """

    def __init__(self, url: str, credentials: Callable[[], Credentials], shares: Shares) -> None:
        self.questions = 0
        self._answers = shares.answers
        self._url = url
        self._credentials = credentials
        self._client: httpx2.AsyncClient | None = None

    async def jobs(self) -> list[msgspec.Raw]:
        """All jobs in Slurm's queue, each to be read on its own."""
        async with self._answers:
            try:
                async with asyncio.timeout(QUEUE_S):
                    jobs = (await self._ask("GET", "jobs")).jobs
            except TimeoutError as error:
                raise UnavailableError("HpcUnavailable", f"slurmrestd does not say its jobs within {QUEUE_S:.0f} s") from error
        if jobs is None:  # not the same as none: every job would be taken for lost
            raise UnavailableError("HpcUnavailable", "slurmrestd does not say which jobs there are")
        return jobs

    async def submit(self, body: dict[str, Any]) -> str:
        """Number of the job that was submitted; raises RefusedError where Slurm will never take it."""
        number = (await self._ask("POST", "job/submit", body)).job_id
        if number is None:
            raise UnavailableError("HpcUnavailable", "slurmrestd took the job and does not say its number")
        return str(number)

    async def cancel(self, number: str) -> None:
        """Ask for a job's end."""
        await self._ask("DELETE", f"job/{number}")

    async def close(self) -> None:
        """End the connection; the next question makes a new one, with the credentials of then."""
        client, self._client = self._client, None
        if client:
            await client.aclose()

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> _Answer:
        self.questions += 1
        try:
            async with self._http().stream(method, f"{self._url}/{API}/{path}", json=body) as answer:
                status, data = answer.status_code, await _at_most(answer, JSON_BYTES)
            found = msgspec.json.decode(data, type=_Answer)
        except (httpx2.HTTPError, OSError) as error:
            raise UnavailableError("Unreachable", f"slurmrestd cannot be reached: {error or type(error).__name__}") from error
        except (ValueError, RecursionError) as error:
            words = f"slurmrestd answered something that is not its own, or longer than {JSON_BYTES} bytes: {error}"
            raise UnavailableError("HpcUnavailable", readable(words, 300)) from error
        said = readable("; ".join(error.words for error in found.errors or []), 1000)
        if method == "POST" and said and not passes(said):
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
