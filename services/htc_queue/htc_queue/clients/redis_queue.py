"""Everything that is said to Redis. The scripts of folder `scripts` keep each step whole: none is ever half done."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from redis import Redis, exceptions
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, ResponseError
from redis.exceptions import RedisError as RedisError
from redis.retry import Retry

from htc_queue.domain import Lease, Letter, Patience, QueueError, Standing, digest, printable

ADDRESS = "PRIMAGE_QUEUE"
CREDENTIALS = "PRIMAGE_QUEUE_CREDENTIALS"
START = "PRIMAGE_QUEUE_START_S"
ROUND = "PRIMAGE_QUEUE_ROUND"
ONLY_ROUND = "1"
USER = "queue"
ANSWER_S = 15.0
WAIT_S = 180.0
"""How long a Redis that cannot be reached is waited for: one that restarts, or a pod's network that is just being made."""
PUSH_BYTES = 512 * 1024
SHOWN_ARGUMENT = 8192
SHOWN_TAIL = 4096
SCRIPTS = ("push", "take", "finish", "fail", "keep", "release", "retry", "letters", "status")


class Persistence(Retry):
    """Tries again for a while, whatever goes wrong on the way, also a name that is not known yet, and says so."""

    def __init__(self, address: str, wait_s: float) -> None:
        super().__init__(ExponentialBackoff(cap=0.5, base=0.05), -1, (exceptions.ConnectionError, exceptions.TimeoutError))
        self._address, self._wait_s = address, wait_s
        self._mine = _Trouble()

    def __deepcopy__(self, memo: dict[int, object]) -> Persistence:
        """Each connection takes a copy."""
        return Persistence(self._address, self._wait_s)

    def call_with_retry(self, do: Callable[[], Any], fail: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """As the library's, within a time rather than a number of tries."""
        mine = self._mine
        mine.depth += 1  # a call that finds its connection broken makes a new one, which is such a call too
        try:
            found = super().call_with_retry(do, lambda error, *more: self._failed(fail(error, *more), error), *args, **options)
            if mine.depth == 1 and mine.since is not None:
                say(f"the queue answered after {time.monotonic() - mine.since:.1f} s")
            return found
        finally:
            mine.depth -= 1
            if not mine.depth:
                mine.since = None

    def _failed(self, found: Any, error: Exception) -> Any:
        if isinstance(error, AuthenticationError):
            raise error
        now = time.monotonic()
        if self._mine.since is None:
            self._mine.since = now
            say(f"waiting for the queue at {self._address} ({error}); giving up in {self._wait_s:g} s")
        if now - self._mine.since > self._wait_s:
            raise error
        return found


class _Trouble(threading.local):
    """Of one thread: how many calls it is in, and since when they have failed."""

    depth: int = 0
    since: float | None = None


class Queue:
    """One application's queue; safe to use from many threads.

    Args:
        address: `rediss://host:port`, or `redis://` and `unix://` where nothing but this machine is on the way.
        credentials: folder with `password` and `ca.crt`; None without login and TLS.
        hasty_s: for a call that is worth nothing later: no second try, and no longer than this for an answer.
        wait_s: how long a server that cannot be reached is waited for; WAIT_S by default.
        round_: which one this is of the times that a producer, each with other arguments, fills the queue and closes it.
    """

    def __init__(
        self,
        address: str,
        credentials: Path | None = None,
        *,
        hasty_s: float | None = None,
        wait_s: float | None = None,
        round_: str = ONLY_ROUND,
    ) -> None:
        options: dict[str, Any] = {} if address.startswith("unix:") else {"socket_keepalive": True}
        if credentials:
            options |= {"username": USER, "password": (credentials / "password").read_text().strip()}
            if address.startswith("rediss:"):
                options |= {"ssl_ca_certs": str(credentials / "ca.crt"), "ssl_check_hostname": True}
        self.address = address
        self._credentials = credentials
        self._round = round_
        self._redis = Redis.from_url(
            address,
            socket_timeout=hasty_s or ANSWER_S,
            socket_connect_timeout=min(5.0, hasty_s or ANSWER_S),
            retry=Retry(NoBackoff(), 0) if hasty_s else Persistence(address, wait_s or WAIT_S),
            **options,
        )
        folder = resources.files("htc_queue") / "scripts"
        common = (folder / "common.lua").read_text()
        self._scripts = {name: self._redis.register_script(common + (folder / f"{name}.lua").read_text()) for name in SCRIPTS}

    def hasty(self, answer_s: float) -> Queue:
        """The same queue by another connection, for what must be known at once or not at all."""
        return Queue(self.address, self._credentials, hasty_s=answer_s, round_=self._round)

    def open(self) -> Queue:
        """Make the queue where it is not there yet; returns itself."""
        try:
            self._redis.xgroup_create("arguments", "consumers", id="0", mkstream=True)
        except OutOfMemoryError:
            pass  # it is full of something, so it was made: what is in it is dealt with
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        return self

    def push(self, arguments: Iterable[bytes]) -> int:
        """Add those that were never pushed before; returns how many. Interrupted at any point it can be run again."""
        added, batch, size = 0, [], 0
        for argument in arguments:
            batch.append(argument)
            size += len(argument)
            if size > PUSH_BYTES or len(batch) == 1000:
                added += self._push(batch)
                batch, size = [], 0
        return added + (self._push(batch) if batch else 0)

    def _push(self, batch: list[bytes]) -> int:
        pairs = [part for argument in batch for part in (digest(argument), argument)]
        try:
            return int(self._scripts["push"](keys=["arguments", "counters", "seen"], args=[self._round, *pairs]))
        except OutOfMemoryError as error:
            raise QueueError("the queue is full: its Redis has no memory left; push paths instead of data") from error
        except ResponseError as error:
            if "CLOSED" in str(error):
                raise QueueError(
                    "the queue is closed, and this has arguments that were never pushed; raise producer.round in the "
                    f"application's settings, or give producer and consumers another {ROUND}"
                ) from error
            raise

    def close(self) -> None:
        """Say that nothing more will be pushed in this round: its consumers end when nothing is left."""
        # Not the field `closed`: primage-queue from before there were rounds ends at it, in whatever round.
        self._redis.hset("counters", "closed_round", self._round)

    def take(self, consumer: str, wanted: int, patience: Patience, *, look_for_silent: bool) -> tuple[list[Lease], bool]:
        """Up to `wanted` arguments, and whether the queue is finished; returns at once.

        There is no call that waits for new ones: Redis would hand out what somebody else wrote before it is looked at.
        """
        *taken, finished = self._scripts["take"](
            keys=["arguments", "counters", "dead", "failures"],
            args=[consumer, wanted, int(patience.visibility_s * 1000), patience.tries, int(look_for_silent), self._round],
        )
        leases = [Lease(id_.decode(), argument, int(tries), int(index)) for id_, argument, tries, index in taken]
        return leases, bool(finished)

    def finish(self, leases: list[Lease]) -> int:
        """Acknowledge; returns how many counted: one that another consumer ended first does not count again."""
        return int(self._scripts["finish"](keys=["arguments", "counters", "failures", "rate"], args=[item.id for item in leases]))

    def fail(self, consumer: str, lease: Lease, patience: Patience, error: str, tail: str, *, last: bool = False) -> str:
        """Say that a try failed; returns `retry`, `dead`, or `lost` where another consumer has it by now."""
        pause = patience.pause_s(lease.tries)
        most = 0 if last else patience.tries
        found = self._scripts["fail"](
            keys=["arguments", "counters", "dead", "failures"],
            args=[consumer, lease.id, most, int(patience.visibility_s * 1000), int(pause * 1000), error, tail],
        )
        return str(found.decode())

    def keep(self, consumer: str, leases: list[Lease]) -> list[str]:
        """Say that the work goes on; returns the ids of those that are another consumer's by now."""
        return [id_.decode() for id_ in self._scripts["keep"](keys=["arguments"], args=[consumer, *(item.id for item in leases)])]

    def release(self, consumer: str, leases: list[Lease], patience: Patience) -> None:
        """Give back untried."""
        self._scripts["release"](
            keys=["arguments"], args=[consumer, int(patience.visibility_s * 1000), *(item.id for item in leases)]
        )

    def retry(self) -> int:
        """Push all dead letters again; returns how many."""
        total, looked = 0, 1
        while looked:
            looked, pushed = map(int, self._scripts["retry"](keys=["arguments", "counters", "dead"], args=[100]))
            total += pushed
        return total

    def letters(self, most: int) -> list[Letter]:
        """Dead letters, the latest first; of a long argument the beginning."""
        found = self._scripts["letters"](keys=["dead"], args=[most, SHOWN_ARGUMENT, SHOWN_TAIL])
        return [
            Letter(argument, int(size), error.decode("utf-8", "replace"), tail.decode("utf-8", "replace"), int(tries), float(at))
            for argument, size, error, tail, tries, at in found
        ]

    def standing(self) -> Standing:
        """How the queue stands."""
        left, pushed, done, dead, closed, running, consumers, lately, since = map(
            int, self._scripts["status"](keys=["arguments", "counters", "rate"])
        )
        return Standing(pushed, done, dead, left, running, bool(closed), round(lately / since, 2), consumers)


def say(words: str) -> None:
    """To whoever reads the log."""
    print(f"primage-queue: {printable(words)}", file=sys.stderr, flush=True)


def connect() -> Queue:
    """The queue the environment names (PRIMAGE_QUEUE, PRIMAGE_QUEUE_CREDENTIALS).

    One that is only being started is waited for as long as PRIMAGE_QUEUE_START_S says, by default as long as any other.
    PRIMAGE_QUEUE_ROUND is the round that this process belongs to.

    Raises:
        QueueError: it names none, refuses the login, or does not answer for minutes.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        raise QueueError(f"{ADDRESS} is not set; in a job of app htc the platform sets it, elsewhere give redis://host:port")
    folder = os.environ.get(CREDENTIALS)
    credentials, start_s = Path(folder) if folder else None, float(os.environ.get(START) or WAIT_S)
    try:
        Queue(address, credentials, wait_s=start_s).open()
        return Queue(address, credentials, round_=os.environ.get(ROUND) or ONLY_ROUND)
    except RedisError as error:
        raise explain(address, error) from error


def explain(address: str, error: RedisError) -> QueueError:
    """A sentence for a person."""
    if isinstance(error, AuthenticationError | NoPermissionError):
        return QueueError(f"the queue at {address} refuses the login; is {CREDENTIALS} the folder of this queue's Secret?")
    return QueueError(f"the queue at {address} cannot be used: {error}")
