"""Running a consumer's command: its output passed on as it comes, its end always noticed."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TAIL = 4096
GRACE_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """How a command ended: `error` is empty when it went well."""

    error: str
    tail: str


class Runner:
    """Runs one command at a time; another thread may stop it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may interrupt whoever holds it
        self._running: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def stop(self) -> None:
        """Ask the command that runs now to end, or the one that is just being started."""
        with self._lock:
            self._stopped = True
            if self._running:
                _signal(self._running, signal.SIGTERM)

    def run(self, command: list[bytes], stdin: bytes | None, output: Path | None, timeout_s: float | None) -> Outcome:
        """Run a command to its end.

        Args:
            command: the program and its arguments.
            stdin: what it reads; None for nothing.
            output: file that receives what it writes to standard output, put in place only when it ends well.
            timeout_s: after this long it is ended, with everything it started.
        """
        part = _beside(output) if output else None
        try:
            with part.open("wb") if part else contextlib.nullcontext() as stream:
                process = self._start(command, stdin, stream)
                tail, late = _follow(process, timeout_s)
            if late:
                return Outcome(f"it ran longer than {timeout_s:g} s", tail)
            if process.returncode:
                return Outcome(_ended(process.returncode), tail)
            if part and output:
                part.replace(output)
            return Outcome("", tail)
        except OSError as error:
            return Outcome(f"its command cannot be run: {error}", "")
        finally:
            with self._lock:
                self._running = None
            if part:
                part.unlink(missing_ok=True)

    def _start(self, command: list[bytes], stdin: bytes | None, stream: IO[bytes] | None) -> subprocess.Popen[bytes]:
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
        with self._lock:
            self._running = process
            if self._stopped:
                _signal(process, signal.SIGTERM)
        return process


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


def _follow(process: subprocess.Popen[bytes], timeout_s: float | None) -> tuple[str, bool]:
    """Pass output on until the process ends, not until the last of its children closes the pipe."""
    pipe = process.stdout or process.stderr
    assert pipe is not None
    tail, late, killed = b"", False, False
    deadline = time.monotonic() + timeout_s if timeout_s else None
    end = os.pidfd_open(process.pid)
    os.set_blocking(pipe.fileno(), False)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.register(end, selectors.EVENT_READ)
            over = False
            while not over:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                ready = {key.fd for key, _ in selector.select(left)}
                over = end in ready
                if pipe.fileno() in ready or over:
                    chunk = _pass_on(pipe.fileno())
                    tail = (tail + chunk)[-TAIL:]
                    if not chunk and not over:
                        selector.unregister(pipe)
                if not ready and not over:
                    _signal(process, signal.SIGKILL if killed else signal.SIGTERM)
                    late, killed, deadline = True, True, time.monotonic() + GRACE_S
    finally:
        os.close(end)
        pipe.close()
        process.wait()
        if late:
            _signal(process, signal.SIGKILL)
    return tail.decode("utf-8", "replace"), late


def _pass_on(pipe: int) -> bytes:
    """Copy what is there to standard output; returns it."""
    found = b""
    while True:
        try:
            chunk = os.read(pipe, 65536)
        except BlockingIOError:
            break
        if not chunk:
            break
        found += chunk
    if found:
        sys.stdout.buffer.write(found)
        sys.stdout.buffer.flush()
    return found


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the whole process group; quiet when it is gone."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _ended(code: int) -> str:
    if code > 0:
        return f"its command ended with status {code}"
    name = signal.Signals(-code).name
    return f"its command was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
