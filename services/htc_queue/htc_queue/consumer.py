"""A consumer: takes arguments, has each dealt with, and says how that went, until the queue is finished."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from htc_queue.clients import Queue, say
from htc_queue.domain import Lease, Patience, UnfitError, command_line
from htc_queue.heartbeat import Heartbeat
from htc_queue.processes import TAIL, Outcome, Runner

SHORTEST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.1
"""Between two looks at a queue that has nothing to do now."""
LOOK_FOR_SILENT_S = 1.0
HASTE = 1 / 6
"""Of the time a silent consumer is waited for: how long a sign to the queue may take."""


class Deal(Protocol):
    """Deals with a batch of arguments; whoever fails in it fails the batch."""

    def unfit(self, lease: Lease) -> str:
        """Why no try can succeed with this one; empty when one can."""
        ...

    def __call__(self, leases: list[Lease]) -> Outcome:
        """Do it."""
        ...


@dataclass
class Consumer:
    """One worker.

    Attributes:
        deal: what is done with a batch.
        batch: how many arguments at a time.
        stop: asks the dealing that goes on now to end.
        kill: ends it at once; None where it is done in this process, which is ended then.
        busy: file that is there meanwhile: who has nothing in hand is not ready, and is the first to go when there are too many.
    """

    queue: Queue
    deal: Deal
    patience: Patience
    batch: int = 1
    stop: Callable[[], None] = lambda: None
    kill: Callable[[], None] | None = None
    busy: Path | None = None
    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}")
    done: int = 0
    failed: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)

    def work(self) -> bool:
        """Until the queue is finished (True), or until it is told to stop (False)."""
        self._catch_signals()
        hasty = self.queue.hasty(self.patience.visibility_s * HASTE)
        self._heart = Heartbeat(lambda leases: hasty.keep(self.name, leases), self.patience.visibility_s, self.kill)
        with self._heart.beating():
            return self._until_finished()

    def _until_finished(self) -> bool:
        looked, pause = 0.0, SHORTEST_PAUSE_S
        while not self._stopping.is_set():
            asked = time.monotonic()
            look = asked - looked >= LOOK_FOR_SILENT_S
            leases, finished = self.queue.take(self.name, self.batch, self.patience, look_for_silent=look)
            looked = asked if look else looked
            if leases and time.monotonic() - asked > self.patience.visibility_s / 2:
                self.queue.release(self.name, leases, self.patience)  # an answer this late may be about another's by now
            elif leases:
                self._deal(leases, asked)
                pause = SHORTEST_PAUSE_S
            elif finished:
                return True
            else:
                if self.busy:
                    self.busy.unlink(missing_ok=True)
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        return False

    def _deal(self, leases: list[Lease], since: float) -> None:
        if self.busy:
            self.busy.touch()
        unfit = {lease.id: why for lease in leases if (why := self.deal.unfit(lease))}
        for lease in leases:
            if lease.id in unfit:  # the others of its batch are none the worse for it
                self._fail(lease, Outcome(unfit[lease.id], ""), last=True)
        fit = [lease for lease in leases if lease.id not in unfit]
        if not fit:
            return
        with self._heart.holding(fit, since) as hold:
            outcome = self.deal(fit)
        if not outcome.error:
            self.done += self.queue.finish(fit)
        elif hold.lost or self._stopping.is_set():
            self.queue.release(self.name, fit, self.patience)
        else:
            for lease in fit:
                self._fail(lease, outcome)

    def _fail(self, lease: Lease, outcome: Outcome, *, last: bool = False) -> None:
        self.failed += 1
        what = self.queue.fail(self.name, lease, self.patience, outcome.error, outcome.tail, last=last)
        say(f"argument {lease.shown!r}: {outcome.error} ({what})")

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
        output: where standard output goes, with `{key}` for the argument's name in files and `{index}` for its place.
    """

    command: list[str]
    runner: Runner
    stdin: bool = False
    output: str = ""
    timeout_s: float | None = None

    def unfit(self, lease: Lease) -> str:
        """Whether a command line can have it."""
        try:
            self._line([lease.argument])
        except UnfitError as error:
            return str(error)
        return ""

    def __call__(self, leases: list[Lease]) -> Outcome:
        """Run it for a batch."""
        arguments = [lease.argument for lease in leases]
        given = b"\n".join(arguments) if self.stdin else None
        output = Path(self.output.format(key=leases[0].key, index=leases[0].index)) if self.output else None
        return self.runner.run(self._line(arguments), given, output, self.timeout_s)

    def _line(self, arguments: list[bytes]) -> list[bytes]:
        return [part.encode() for part in self.command] if self.stdin else command_line(self.command, arguments)


@dataclass(frozen=True)
class Function:
    """Deals by calling a Python function with each argument as text: what it loads is loaded once."""

    function: Callable[[str], object]

    def unfit(self, lease: Lease) -> str:
        """Any argument is as good as another."""
        del lease
        return ""

    def __call__(self, leases: list[Lease]) -> Outcome:
        """Call it for each."""
        for lease in leases:
            try:
                self.function(lease.argument.decode())
            except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, it is the argument's end and not the consumer's
                return Outcome(f"{type(error).__name__}: {error}"[:500], traceback.format_exc()[-TAIL:])
        return Outcome("", "")
