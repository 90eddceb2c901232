"""Running other programs: always with a time limit, always with what they said kept in a named file."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from primage.errors import PrimageError

TAIL_LINES = 15
_WITH_ITS_PARENT = ("setpriv", "--pdeathsig", "TERM")


def run_logged(
    command: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    stdin: bytes | None = None,
    ends_with_us: bool = False,
) -> None:
    """Run `command`, appending everything it prints to `log`.

    Args:
        on_line: called with each line as it comes, for progress.
        stdin: bytes for standard input (for secrets, which never go on a command line).
        ends_with_us: whether it is ended when this process is killed; otherwise it goes on (Linux).

    Raises:
        PrimageError: exit status other than 0, or the time limit; names the log and shows its last lines.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with log.open("a", encoding="utf-8", errors="replace") as out:
        out.write(f"$ {' '.join(command)}\n")
        out.flush()
        process = subprocess.Popen(
            [*(_WITH_ITS_PARENT if ends_with_us else ()), *command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        expired = threading.Event()

        def kill() -> None:
            expired.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout_s, kill)
        timer.start()
        try:
            if stdin is not None and process.stdin is not None:
                process.stdin.write(stdin)
                process.stdin.close()
            if process.stdout is None:  # for the type checker: stdout is a pipe, as asked above
                raise AssertionError("no pipe")
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip("\n")
                out.write(line + "\n")
                out.flush()
                tail.append(line)
                if on_line:
                    on_line(line)
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        finally:
            timer.cancel()
    if expired.is_set():
        raise PrimageError(
            f"{command[0]} did not finish within {timeout_s:.0f} s; its last lines were:\n  " + "\n  ".join(tail) + "\n",
            where=str(log),
            todo="read the log, then run the same command again: it continues where it stopped",
        )
    if status != 0:
        raise PrimageError(
            f"{command[0]} ended with status {status}; its last lines were:\n  " + "\n  ".join(tail) + "\n",
            where=str(log),
            todo="fix what the last lines name, then run the same command again: it continues where it stopped",
        )


def capture(command: Sequence[str], *, timeout_s: float = 60, env: Mapping[str, str] | None = None) -> str:
    """Standard output of a short command; `PrimageError` with its standard error when it fails."""
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, **(env or {})},
            check=False,
        )
    except FileNotFoundError as error:
        raise PrimageError(f"{command[0]} is not installed", todo="run `make site`, which installs it") from error
    except subprocess.TimeoutExpired as error:
        raise PrimageError(f"{' '.join(command)} did not finish within {timeout_s:.0f} s") from error
    if done.returncode != 0:
        raise PrimageError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr.strip()[-600:]}")
    return done.stdout
