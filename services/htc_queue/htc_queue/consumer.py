"""A consumer: takes arguments, has each dealt with, and says how that went, until the queue is finished."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from htc_queue.clients import Queue
from htc_queue.domain import Lease, Patience, UnfitError, command_line
from htc_queue.processes import TAIL, Outcome, Runner

IDLE_S = 0.25
LOOK_FOR_SILENT_S = 1.0

Deal = Callable[[list[Lease]], Outcome]
"""Deals with a batch of arguments; whoever fails in it fails the batch."""


@dataclass
class Consumer:
    """One worker.

    Attributes:
        deal: what is done with a batch.
        batch: how many arguments at a time.
        stop: what ends the dealing that goes on now.
        busy: file that is there meanwhile: who has nothing in hand is not ready, and is the first to go when there are too many.
    """

    queue: Queue
    deal: Deal
    patience: Patience
    batch: int = 1
    stop: Callable[[], None] = lambda: None
    busy: Path | None = None
    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}")
    done: int = 0
    failed: int = 0
    _leases: list[Lease] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> bool:
        """Until the queue is finished (True), or until it is told to stop (False)."""
        self._catch_signals()
        beat = threading.Thread(target=self._beat, daemon=True)
        beat.start()
        looked = 0.0
        try:
            while not self._stopping.is_set():
                look = time.monotonic() - looked >= LOOK_FOR_SILENT_S
                leases, finished = self.queue.take(self.name, self.batch, self.patience, look_for_silent=look)
                looked = time.monotonic() if look else looked
                if not leases and finished:
                    return True
                leases = leases or self.queue.wait(self.name, self.batch, IDLE_S)
                if leases:
                    self._deal(leases)
                elif self.busy:
                    self.busy.unlink(missing_ok=True)
            return False
        finally:
            self._over.set()
            beat.join(timeout=1)

    def _deal(self, leases: list[Lease]) -> None:
        with self._lock:
            self._leases = leases
        if self.busy:
            self.busy.touch()
        try:
            outcome, last = self.deal(leases), False
        except UnfitError as error:
            if len(leases) > 1:  # the others of its batch are none the worse for it
                for lease in leases:
                    self._deal([lease])
                return
            outcome, last = Outcome(str(error), ""), True
        with self._lock:
            self._leases = []
        if not outcome.error:
            self.done += self.queue.finish(leases)
        elif self._stopping.is_set():
            self.queue.release(self.name, leases, self.patience)
        else:
            self.failed += len(leases)
            for lease in leases:
                what = self.queue.fail(self.name, lease, self.patience, outcome.error, outcome.tail, last=last)
                print(f"primage-queue: argument {lease.key}: {outcome.error} ({what})", file=sys.stderr, flush=True)

    def _beat(self) -> None:
        """Keep what is worked on from being given to others."""
        while not self._over.wait(self.patience.visibility_s / 3):
            with self._lock:
                leases = list(self._leases)
            if leases:
                self.queue.keep(self.name, leases)

    def _catch_signals(self) -> None:
        def ask(*_: object) -> None:
            self._stopping.set()
            self.stop()

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ask)
            signal.signal(signal.SIGINT, ask)


@dataclass(frozen=True)
class Command:
    """Deals by running a command, one process a batch.

    Attributes:
        stdin: hand the argument over on standard input.
        output: where standard output goes, with `{key}` for the argument's name in files.
    """

    command: list[str]
    runner: Runner
    stdin: bool = False
    output: str = ""
    timeout_s: float | None = None

    def __call__(self, leases: list[Lease]) -> Outcome:
        """Run it for a batch."""
        arguments = [lease.argument for lease in leases]
        line = [part.encode() for part in self.command] if self.stdin else command_line(self.command, arguments)
        given = b"\n".join(arguments) if self.stdin else None
        output = Path(self.output.format(key=leases[0].key)) if self.output else None
        return self.runner.run(line, given, output, self.timeout_s)


@dataclass(frozen=True)
class Function:
    """Deals by calling a Python function with each argument as text: what it loads is loaded once."""

    function: Callable[[str], object]

    def __call__(self, leases: list[Lease]) -> Outcome:
        """Call it for each."""
        for lease in leases:
            try:
                self.function(lease.argument.decode())
            except Exception as error:  # noqa: BLE001  # whatever it is, it is the argument's end and not the consumer's
                return Outcome(f"{type(error).__name__}: {error}"[:500], traceback.format_exc()[-TAIL:])
        return Outcome("", "")
