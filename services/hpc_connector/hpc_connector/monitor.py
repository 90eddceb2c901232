"""One backend: the loop that looks at all jobs there, for everybody who follows one of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

from hpc_connector.clients.backend_secret import BackendSecret
from hpc_connector.clients.transport import Transport
from hpc_connector.domain.errors import RefusedError, RejectedError, UnavailableError
from hpc_connector.domain.pace import Pace
from hpc_connector.domain.request import Request
from hpc_connector.domain.seen import Seen
from hpc_connector.domain.text import readable
from hpc_connector.pulse import Pulse
from primage.contract.hpc import Backend

log = logging.getLogger("hpc_connector")
RETRY_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
FRESH_S = 20.0
"""How long after something happened to a job its end is looked for often."""
KEEP_S = 60.0
"""How long the connection stays after its last use, or a little longer: who submits one short job after another logs in once."""
WAIT_S = 86_400.0
"""For a place to look where nobody follows a job: others' looks end within LOOK_S each."""
LOOK_S = 120.0
"""For one look; longer than its one command and a new connection may take together."""
LONGER = 3
"""How often the time between two looks doubles where nothing is and nobody follows a job: a login node has many such accounts."""
SWEEPS = 10
"""Jobs of nobody's that are cancelled at a time."""

Attempts = Mapping[tuple[str, int], Seen]
"""What one look showed, by the Job's uid and the attempt's number."""


def retry_s(failures: int) -> float:
    """The pause after so many failures, one after the other."""
    return RETRY_S[min(failures, len(RETRY_S)) - 1]


class _Waiters:
    """Hands what a look shows to those who asked before it began."""

    def __init__(self) -> None:
        self._begun: asyncio.Future[Attempts] | None = None
        self._next: asyncio.Future[Attempts] = asyncio.get_running_loop().create_future()

    async def next(self) -> Attempts:
        """What the next look shows that begins from now on; raises what keeps anybody from looking until then."""
        return await asyncio.shield(self._next)

    def begin(self) -> None:
        """A look begins: who asks from now on waits for the one after it."""
        self._begun, self._next = self._next, asyncio.get_running_loop().create_future()

    def show(self, attempts: Attempts) -> None:
        """The look that was begun shows this."""
        if self._begun:
            self._begun.set_result(attempts)
            self._begun = None

    def fail(self, error: Exception) -> None:
        """There is no looking now: everybody who waits is told."""
        waiting, self._begun = [self._begun, self._next], None
        self._next = asyncio.get_running_loop().create_future()
        for future in waiting:
            if future:
                future.set_exception(error)
                future.exception()  # where nobody waits, nobody has to take it


class BackendMonitor:
    """Looks at a backend, often while somebody follows a job there and seldom while nobody does.

    Args:
        whose: the namespace, for the log.
        transport: made for the account that `secret` holds.
        wanted: whether there is a Job of that uid whose Slurm jobs may live.
        spawn: starts a task that is watched.
        looks: places for looks while nobody follows a job here, which other namespaces' looks wait for too.
        idle_s: between two looks at a backend where no job is; longer and longer while there is nothing of this account.
        keep_s: how long the connection stays after its last use.

    Attributes:
        backend: what the site says of it.
        transport: how it is asked.
        secret: its credentials.
        looks: how many looks there have been.
    """

    def __init__(
        self,
        backend: Backend,
        transport: Transport,
        secret: BackendSecret,
        *,
        whose: str,
        wanted: Callable[[str], bool],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        pulse: Pulse,
        looks: asyncio.Semaphore,
        idle_s: float,
        keep_s: float = KEEP_S,
    ) -> None:
        self.backend = backend
        self.transport = transport
        self.secret = secret
        self.looks = 0
        self._whose = whose
        self._wanted = wanted
        self._spawn = spawn
        self._pulse = pulse
        self._places = looks
        self._idle_s = idle_s
        self._keep_s = keep_s
        self._slots = asyncio.Semaphore(backend.max_jobs)
        self._waiters = _Waiters()
        self._seen: Attempts = {}
        self._trouble: UnavailableError | None = None
        self._followed: dict[object, tuple[Request, int, str]] = {}
        self._users = 0
        self._empty = 0
        self._used_at = float("-inf")
        self._stirred = asyncio.Event()
        self._fresh_until = 0.0
        self._strangers: set[str] = set()
        self._sweeping: set[str] = set()

    # -- for those who have a job there ----------------------------------------------------------------------------

    @property
    def followed(self) -> int:
        """How many attempts somebody follows."""
        return len(self._followed)

    def slot(self) -> AbstractAsyncContextManager[None]:
        """One of the places in Slurm that the site gives the VO; waits until there is one."""
        return self._slots

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Somebody needs the connection, which is closed some time after the last who does."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._used_at = time.monotonic()

    @contextmanager
    def following(self, request: Request, attempt: int, number: str) -> Iterator[Callable[[], Awaitable[Seen]]]:
        """While an attempt is looked at; what it gives waits for the next look, and raises what keeps it from being had.

        Args:
            number: Slurm's, empty where it is not known.
        """
        here = object()
        self._followed[here] = (request, attempt, number)
        self.hurry()

        async def look() -> Seen:
            return (await self._waiters.next()).get((request.uid, attempt), Seen())

        try:
            yield look
        finally:
            del self._followed[here]

    def hurry(self) -> None:
        """Something happened to a job: look soon, and often for a while."""
        self._empty = 0
        self._fresh_until = time.monotonic() + FRESH_S
        self._stirred.set()

    async def refresh_credentials(self) -> None:
        """Read the Secret now and then. Other credentials are used at once, by a new connection; without any, none stays."""
        try:
            changed = await self.secret.refresh(at_once=self._trouble is not None)
        except UnavailableError:
            if not self.secret.known:
                await self.transport.close()
            raise
        if changed:
            await self.transport.close()

    # -- the loop --------------------------------------------------------------------------------------------------

    async def look_forever(self) -> None:
        """Look at all jobs, often while there are any."""
        pace, failures, loop = Pace(self.backend.poll_s), 0, f"looks at {self.backend.name}"
        while True:
            try:
                async with self._place(loop):
                    self._pulse.expect(loop, LOOK_S)
                    changed = await self._look()
                pause, failures = await self._pause(pace, changed=changed), 0
            except (UnavailableError, RejectedError) as error:
                failures += 1
                pause = retry_s(failures) if self._followed else self._idle_s
                self._fail(error)
            self._pulse.expect(loop, pause)
            if await self._stirred_within(pause):
                pace.hurry()

    @asynccontextmanager
    async def _place(self, loop: str) -> AsyncIterator[None]:
        """A place for a look: at once for who follows a job, and else one of a few, so that not all look at the same time."""
        if self._followed or self._users:
            yield
            return
        self._pulse.expect(loop, WAIT_S)
        waiting, stirred = asyncio.ensure_future(self._places.acquire()), asyncio.ensure_future(self._stirred.wait())
        try:
            await asyncio.wait({waiting, stirred}, return_when=asyncio.FIRST_COMPLETED)
            yield
        finally:
            stirred.cancel()
            if not waiting.cancel():
                self._places.release()

    async def _look(self) -> bool:
        """Whether there is something new."""
        try:
            async with asyncio.timeout(LOOK_S):
                await self.refresh_credentials()
                self._waiters.begin()
                attempts = {(request.uid, attempt): number for request, attempt, number in self._followed.values()}
                before, self._seen = self._seen, await self.transport.look(attempts)
        except TimeoutError as error:
            await self.transport.close()
            raise UnavailableError("HpcUnavailable", f"{self.backend.name} does not answer within {LOOK_S:.0f} s") from error
        self._trouble = None
        self._empty = 0 if self._seen else min(self._empty + 1, LONGER)
        self.looks += 1
        self._waiters.show(self._seen)
        self._sweep_strangers()
        if before.keys() != self._seen.keys():
            self._fresh_until = time.monotonic() + self.backend.poll_s * 4
        return before != self._seen or time.monotonic() < self._fresh_until

    async def _pause(self, pace: Pace, *, changed: bool) -> float:
        if self._strangers:
            return pace.next(changed=True, ceiling_s=self._idle_s)
        if not self._followed:
            if self._users or self._sweeping:
                return min(self._keep_s, self._idle_s) or self._idle_s
            left = self._used_at + self._keep_s - time.monotonic()
            if left > 0:
                return min(left, self._idle_s)
            await self.transport.close()
            return self._idle_s * (1 << self._empty)
        return pace.next(changed=changed, ceiling_s=min(request.period_s for request, _, _ in self._followed.values()))

    def _fail(self, error: UnavailableError | RejectedError) -> None:
        """Say what keeps jobs waiting to those who wait, and to the log when it is new."""
        told = self._trouble
        self._trouble = error if isinstance(error, UnavailableError) else UnavailableError("ApiServer", str(error))
        self._waiters.fail(self._trouble)
        if told is None or str(told) != str(self._trouble):
            log.warning("%s: backend %s: %s", self._whose, self.backend.name, readable(str(error), 500))

    async def _stirred_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stirred.wait(), seconds)
            await asyncio.sleep(0)
        except TimeoutError:
            return False
        finally:
            self._stirred.clear()
        return True

    # -- what is there of nobody's ---------------------------------------------------------------------------------

    def _sweep_strangers(self) -> None:
        """End what is in Slurm for jobs that no longer exist: seen twice, since a job may be newer than what is known here."""
        found = {uid for (uid, _), seen in self._seen.items() if seen.slurm and not seen.over and not self._wanted(uid)}
        for uid in sorted(found & self._strangers - self._sweeping)[: SWEEPS - len(self._sweeping)]:
            self._sweeping.add(uid)
            self._spawn(self._sweep(uid))
        self._strangers = found

    async def _sweep(self, uid: str) -> None:
        """Beside the looks: a job that does not end must not keep anybody from seeing theirs."""
        log.warning("%s: cancelling %s, whose job is gone", self._whose, uid)
        try:
            await self.transport.cancel(uid)
            await self.transport.forget(uid)
        except (UnavailableError, RefusedError) as error:
            log.warning("%s: cannot cancel %s: %s", self._whose, uid, readable(str(error), 500))
        finally:
            self._sweeping.discard(uid)
