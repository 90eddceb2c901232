"""The authorizer as a process that is there at once: one that has imported all of it makes a copy of itself for each start.

A test ends it a hundred times, and importing takes a second or two each time. What runs is `python -m authorizer` all the same.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from authorizer_process import PATHS, AuthorizerProcess
from waiting import until


class ForkedAuthorizer(AuthorizerProcess):
    """As its parent, with the process that has the kubeconfig started in an instant."""

    _parent: subprocess.Popen[str] | None = None
    _child = 0

    def _start(self, name: str, module: list[str], environment: dict[str, str]) -> None:
        if name != "authorizer":
            super()._start(name, module, environment)
            return
        if self._parent is None:
            with (self.folder / f"{name}.log").open("ab") as log:
                self._parent = subprocess.Popen(
                    [sys.executable, __file__],
                    env={**os.environ, "PYTHONPATH": f"{PATHS}{os.pathsep}{Path(__file__).parent}", **environment},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=self.folder,
                )
        if not self.runs():
            assert self._parent.stdin
            assert self._parent.stdout
            self._parent.stdin.write("\n")
            self._parent.stdin.flush()
            self._child = int(self._parent.stdout.readline())

    def runs(self) -> bool:
        """Whether there is one."""
        return bool(self._child) and Path(f"/proc/{self._child}").exists()

    def kill(self, name: str = "authorizer") -> None:
        """End one of the two at once, wherever it is."""
        if name != "authorizer":
            super().kill(name)
        elif self.runs():
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            until("it is gone", lambda: not self.runs(), pause_s=0.002)

    def stop(self) -> None:
        """End all."""
        self.kill()
        if self._parent:
            self._parent.kill()
            self._parent.wait()
        super().stop()


@contextmanager
def forked_authorizer(kubeconfig: Path, folder: Path, **environment: str) -> Iterator[ForkedAuthorizer]:
    """One that does not run yet, with a container for folders that does."""
    made = ForkedAuthorizer(str(kubeconfig), folder, environment)
    try:
        yield made
    finally:
        made.stop()


def serve() -> None:
    """For each line, a copy of this process that is the authorizer; its number is the answer."""
    import gc

    import authorizer.__main__ as program

    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    for _ in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                program.main()
            finally:
                os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    serve()
