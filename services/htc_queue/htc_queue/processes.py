"""Running a consumer's command: its output passed on as it comes, its end always noticed, whatever it does.

A command is ended when its time is over, and with it everything it started: processes that left its group or its session,
or that keep its output open, are children of this process once their own parent is gone (PR_SET_CHILD_SUBREAPER).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import select
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from htc_queue.domain import QueueError

TAIL = 4096
"""How much of what a command writes is kept, for a dead letter: its end. The rest goes on to the log, and is not kept."""
GRACE_S = 5.0
"""Between being asked to end and being killed, for a command whose time is over."""
STOP_GRACE_S = 20.0
"""The same, for a command of a consumer that is told to stop; Kubernetes gives the whole pod 30 s."""
LINGER_S = 1.0
"""How long what a command leaves behind may take to end by itself: `> >(tee file)` does, a moment later."""
MOST_AFTER_END = 1024 * 1024
"""As much as a pipe may hold: what is read of it once the command has ended."""
STDOUT = 1
_SET_CHILD_SUBREAPER = 36


class UnendingError(QueueError):
    """Something a command started cannot be killed: this consumer must not go on beside it."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: `error` is empty when it went well."""

    error: str
    tail: str


class Runner:
    """Runs one command at a time; another thread, or a signal's handler, may end it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may interrupt whoever holds it
        self._running: _Running | None = None
        self._stopped = False
        if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise QueueError(f"prctl cannot have orphans handed to this process: {os.strerror(ctypes.get_errno())}")

    def stop(self) -> None:
        """Ask the command that runs now to end, or the one that is just being started; kill it when it does not."""
        with self._lock:
            self._stopped = True
            if self._running:
                self._running.ask(STOP_GRACE_S)

    def kill(self) -> None:
        """End the command that runs now at once."""
        with self._lock:
            if self._running:
                self._running.kill()

    def run(self, command: list[bytes], stdin: bytes | None, output: Path | None, timeout_s: float | None) -> Outcome:
        """Run a command to its end.

        Args:
            command: the program and its arguments.
            stdin: what it reads; None for nothing.
            output: file that receives what it writes to standard output, put in place only when it ends well.
            timeout_s: after this long it is ended, with everything it started.

        Raises:
            UnendingError: not all of it could be ended.
        """
        part = None
        before = _children()
        try:
            part = _beside(output) if output else None
            with part.open("wb") if part else contextlib.nullcontext() as stream:
                running = self._start(command, stdin, stream, timeout_s)
                try:
                    running.follow()
                    _end_rest(running, before)
                finally:
                    with self._lock:
                        self._running = None
                    running.close()
            if running.late:
                return Outcome(f"it ran longer than {timeout_s:g} s", running.written)
            if running.process.returncode:
                return Outcome(_ended(running.process.returncode), running.written)
            if part and output:
                part.replace(output)
            return Outcome("", running.written)
        except OSError as error:
            return Outcome(f"its command cannot be run: {error}", "")
        finally:
            if part:
                part.unlink(missing_ok=True)

    def _start(self, command: list[bytes], stdin: bytes | None, stream: IO[bytes] | None, timeout_s: float | None) -> _Running:
        given = subprocess.DEVNULL if stdin is None else _as_file(stdin)
        try:
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=stream or subprocess.PIPE,
                stderr=subprocess.PIPE if stream else subprocess.STDOUT,
                process_group=0,
            )
        finally:
            if given != subprocess.DEVNULL:
                os.close(given)
        running = _Running(process, timeout_s)
        with self._lock:
            self._running = running
            if self._stopped:
                running.ask(STOP_GRACE_S)
        return running


class _Step(Enum):
    """What has been done about a command's end."""

    LET_RUN = 0
    ASKED = 1
    KILLED = 2


class _Running:
    """A command that runs.

    Attributes:
        late: its time was over before it ended.
    """

    def __init__(self, process: subprocess.Popen[bytes], timeout_s: float | None) -> None:
        pipe = process.stdout or process.stderr
        assert pipe is not None
        self.process = process
        self.late = False
        self._pipe: IO[bytes] | None = pipe
        self._stdout: int | None = STDOUT
        self._tail = self._unsaid = b""
        self._step = _Step.LET_RUN
        self._next_s = time.monotonic() + timeout_s if timeout_s else None
        self._end, self._wake = os.pidfd_open(process.pid), os.eventfd(0, os.EFD_CLOEXEC)
        os.set_blocking(pipe.fileno(), False)

    @property
    def left_alone(self) -> bool:
        """Nobody told it to end."""
        return self._step is _Step.LET_RUN

    @property
    def written(self) -> str:
        """The last of what it wrote."""
        return self._tail.decode("utf-8", "replace")

    def ask(self, grace_s: float) -> None:
        """Have it end; kill it after a while."""
        if self._step is _Step.LET_RUN:
            self._signal(signal.SIGTERM, _Step.ASKED, grace_s)

    def kill(self) -> None:
        """End it now."""
        if self._step is not _Step.KILLED:
            self._signal(signal.SIGKILL, _Step.KILLED, GRACE_S)

    def _signal(self, number: signal.Signals, step: _Step, wait_s: float) -> None:
        if self.process.returncode is not None:
            return  # its number may be another's by now
        self._step, self._next_s = step, time.monotonic() + wait_s
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        with contextlib.suppress(ProcessLookupError):  # it may have left its group
            signal.pidfd_send_signal(self._end, number)
        os.eventfd_write(self._wake, 1)

    def follow(self) -> None:
        """Pass its output on until it ends, not until the last of its children closes the pipe.

        No step waits for the command, for whoever holds its pipe, or for whoever reads this process' own output: each moves one
        page, so that the time is looked at between any two.
        """
        while True:
            ready = self._wait()
            if self._end in ready:
                break
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if self._stdout in ready:
                self._say()
            elif self._pipe and self._pipe.fileno() in ready:
                self._read()
            if self._next_s is not None and time.monotonic() >= self._next_s:
                self._escalate()
        self.process.wait()

    def _wait(self) -> set[int | None]:
        wanted = {self._end: select.POLLIN, self._wake: select.POLLIN}
        if self._unsaid and self._stdout is not None:
            wanted[self._stdout] = select.POLLOUT
        elif self._pipe:
            wanted[self._pipe.fileno()] = select.POLLIN
        poll = select.poll()
        for number, event in wanted.items():
            poll.register(number, event)
        left = None if self._next_s is None else max(0, math.ceil((self._next_s - time.monotonic()) * 1000))
        return {number for number, _ in poll.poll(left)}

    def _escalate(self) -> None:
        if self._step is _Step.LET_RUN:
            self.late = True
            self.ask(GRACE_S)
        elif self._step is _Step.ASKED:
            self.kill()
        else:
            raise UnendingError(f"process {self.process.pid} was killed and does not end")

    def _read(self) -> bool:
        """One page: what poll() says a pipe has room for. Whether there was anything."""
        if self._pipe is None:
            return False
        try:
            chunk = os.read(self._pipe.fileno(), select.PIPE_BUF)
        except BlockingIOError:
            return False
        if not chunk:
            self._pipe.close()
            self._pipe = None
        self._tail = (self._tail + chunk)[-TAIL:]
        self._unsaid = chunk if self._stdout is not None else b""
        return bool(chunk)

    def _say(self) -> None:
        assert self._stdout is not None
        try:
            self._unsaid = self._unsaid[os.write(self._stdout, self._unsaid) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            self._stdout, self._unsaid = None, b""

    def drain(self) -> None:
        """Pass on what is still in the pipe of a command that has ended, as long as somebody takes it."""
        end, left = time.monotonic() + LINGER_S, MOST_AFTER_END
        while left > 0 and (self._unsaid or self._read()):
            left -= select.PIPE_BUF
            while self._unsaid and self._stdout is not None:
                if not _can_write(self._stdout, end - time.monotonic()):
                    self._stdout, self._unsaid = None, b""
                    return
                self._say()

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._end)
        os.close(self._wake)
        if self._pipe:
            self._pipe.close()


def _can_write(number: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return bool(poll.poll(max(0, math.ceil(seconds * 1000))))


def _end_rest(running: _Running, before: set[int]) -> None:
    """After a command: end what it left behind, and pass on what is still unsaid."""
    running.drain()
    end = time.monotonic() + LINGER_S
    while running.left_alone and _rest(before) and time.monotonic() < end:
        time.sleep(0.01)  # they are not all of them our own children yet: nothing to wait on
        running.drain()
    end = time.monotonic() + GRACE_S
    while rest := _rest(before):
        if time.monotonic() > end:
            raise UnendingError(f"what the command started cannot be killed: processes {', '.join(map(str, sorted(rest)[:10]))}")
        for process in rest:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.002)
    running.drain()


def _rest(before: set[int]) -> set[int]:
    """Children that were not there before and have not ended. Killing one makes its own children ours."""
    rest = _children() - before
    for process in list(rest):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(process, os.WNOHANG)[0]:
                rest |= _children() - before
                rest.discard(process)
    return rest


def _children() -> set[int]:
    """This process' own children, and those it was handed."""
    found: set[int] = set()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return found  # there is none, as nearly always
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found |= {int(number) for number in (task / "children").read_text().split()}
    return found


def _beside(output: Path) -> Path:
    output.parent.mkdir(parents=True, exist_ok=True)
    return output.with_name(f".{os.getpid()}.{threading.get_ident()}.{output.name}")


def _as_file(data: bytes) -> int:
    """Standard input as a file in memory: a pipe would have to be fed while the command writes."""
    file = os.memfd_create("argument")
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _ended(code: int) -> str:
    if code > 0:
        return f"its command ended with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"its command was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
