"""Everything that is said to Redis. The scripts beside this file keep each step whole: none is ever half done."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from redis import Redis, exceptions
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from htc_queue.domain import Lease, Letter, Patience, QueueError, Standing, digest

ADDRESS = "PRIMAGE_QUEUE"
CREDENTIALS = "PRIMAGE_QUEUE_CREDENTIALS"
USER = "queue"
ANSWER_S = 15.0
RETRIES = 90
"""With pauses of at most two seconds, a Redis that restarts is waited for about three minutes."""
PUSH_BYTES = 512 * 1024
RATE_BUCKET_S = 5


class Queue:
    """One application's queue; safe to use from many threads.

    Args:
        address: `rediss://host:port`, or `redis://` and `unix://` where nothing but this machine is on the way.
        credentials: folder with `password` and `ca.crt`; None without login and TLS.
    """

    def __init__(self, address: str, credentials: Path | None = None) -> None:
        options: dict[str, Any] = {} if address.startswith("unix:") else {"socket_keepalive": True}
        if credentials:
            options |= {"username": USER, "password": (credentials / "password").read_text().strip()}
            if address.startswith("rediss:"):
                options |= {"ssl_ca_certs": str(credentials / "ca.crt"), "ssl_check_hostname": True}
        self.address = address
        self._redis = Redis.from_url(
            address,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=5,
            retry=Retry(ExponentialBackoff(cap=2.0, base=0.05), RETRIES),
            retry_on_error=[exceptions.ConnectionError, exceptions.TimeoutError],
            **options,
        )
        names = ("push", "take", "finish", "fail", "keep", "release", "retry")
        folder = resources.files("htc_queue") / "scripts"
        self._scripts = {name: self._redis.register_script((folder / f"{name}.lua").read_text()) for name in names}

    def open(self) -> Queue:
        """Make the queue where it is not there yet; returns itself."""
        try:
            self._redis.xgroup_create("arguments", "consumers", id="0", mkstream=True)
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
            return int(self._scripts["push"](keys=["arguments", "counters", "seen"], args=pairs))
        except ResponseError as error:
            if "CLOSED" in str(error):
                raise QueueError("the queue is closed, and this has arguments that were never pushed; make a new one") from error
            if "OOM" in str(error):
                raise QueueError("the queue is full: its Redis has no memory left; push paths instead of data") from error
            raise

    def close(self) -> None:
        """Say that nothing more will be pushed: consumers end when nothing is left."""
        self._redis.hset("counters", "closed", "1")

    def take(self, consumer: str, wanted: int, patience: Patience, *, look_for_silent: bool) -> tuple[list[Lease], bool]:
        """Up to `wanted` arguments, and whether the queue is finished; returns at once."""
        *taken, finished = self._scripts["take"](
            keys=["arguments", "counters", "dead", "failures"],
            args=[consumer, wanted, int(patience.visibility_s * 1000), patience.tries, int(look_for_silent)],
        )
        return [Lease(id_.decode(), argument, int(tries)) for id_, argument, tries in taken], bool(finished)

    def wait(self, consumer: str, wanted: int, seconds: float) -> list[Lease]:
        """New arguments as soon as there are any, or nothing after a while."""
        found: Any = self._redis.xreadgroup("consumers", consumer, {"arguments": ">"}, count=wanted, block=int(seconds * 1000))
        return [Lease(id_.decode(), fields[b"argument"], 1) for _, entries in found or [] for id_, fields in entries]

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
        total = 0
        while moved := int(self._scripts["retry"](keys=["arguments", "counters", "dead"], args=[100])):
            total += moved
        return total

    def letters(self, most: int) -> list[Letter]:
        """Dead letters, the latest first."""
        found: Any = self._redis.xrevrange("dead", count=most)
        return [_letter(fields) for _, fields in found]

    def standing(self) -> Standing:
        """How the queue stands."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.hgetall("counters")
        pipe.xpending("arguments", "consumers")
        pipe.hgetall("rate")
        pipe.time()
        counters, pending, rate, now = pipe.execute()
        working = [c for c in pending.get("consumers", []) if c["name"] != b"retry"]
        number = {key.decode(): int(value) for key, value in counters.items()}
        return Standing(
            pushed=number.get("pushed", 0), done=number.get("done", 0), dead=number.get("dead", 0),
            running=sum(int(c["pending"]) for c in working), consumers=len(working), closed=bool(number.get("closed")),
            rate=_rate({int(k): int(v) for k, v in rate.items()}, now[0] + now[1] / 1e6),
        )  # fmt: skip


def _rate(buckets: dict[int, int], now: float) -> float:
    """Arguments per second over the last minute, or since the first one of it."""
    recent = {start: count for start, count in buckets.items() if start * RATE_BUCKET_S > now - 60}
    if not recent:
        return 0.0
    return round(sum(recent.values()) / max(1.0, now - min(recent) * RATE_BUCKET_S), 2)


def _letter(fields: dict[bytes, bytes]) -> Letter:
    return Letter(
        argument=fields[b"argument"], error=fields[b"error"].decode("utf-8", "replace"),
        tail=fields[b"tail"].decode("utf-8", "replace"), tries=int(fields[b"tries"]), at=float(fields[b"at"]),
    )  # fmt: skip


def connect() -> Queue:
    """The queue the environment names (PRIMAGE_QUEUE, PRIMAGE_QUEUE_CREDENTIALS).

    Raises:
        QueueError: it names none, refuses the login, or does not answer for minutes.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        raise QueueError(f"{ADDRESS} is not set; in a job of app htc the platform sets it, elsewhere give redis://host:port")
    folder = os.environ.get(CREDENTIALS)
    try:
        return Queue(address, Path(folder) if folder else None).open()
    except RedisError as error:
        raise explain(address, error) from error


def explain(address: str, error: RedisError) -> QueueError:
    """A sentence for a person."""
    if isinstance(error, AuthenticationError | NoPermissionError):
        return QueueError(f"the queue at {address} refuses the login; is {CREDENTIALS} the folder of this queue's Secret?")
    return QueueError(f"the queue at {address} cannot be used: {error}")
