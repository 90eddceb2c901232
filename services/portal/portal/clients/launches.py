"""Processes that bring stacks up and take them away, each as one person, and how they went."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from portal.domain.errors import RefusedError
from portal.domain.launch import Ended, Work
from primage.contract.names import stack_label

AT_ONCE, AT_ONCE_OF_ONE = 3, 1
"""Processes of everybody, and of one person; each takes some tens of megabytes."""
LONGEST_S = 8 * 60
"""A token is good for ten minutes, and for two at least when a process begins with it: one that takes as long as the longest ends
by it, and can be gone on with."""
MOST_KEPT = 200
MOST_SAID = 64 * 1024
PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PRIMAGE_REPOSITORY", "LANG")
log = logging.getLogger("portal.launches")


@dataclass
class Launch:
    """One process.

    Attributes:
        owner: the account of whoever wants it: names of people may be given to others one day.
        work: what it was told.
        ended: how it went; None while it runs.
        begun: seconds of a clock that only grows.
    """

    owner: str
    work: Work
    begun: float
    ended: Ended | None = None

    @property
    def label(self) -> str:
        """Of the stack's objects."""
        return stack_label(self.work.stack)

    @property
    def up(self) -> bool:
        """Whether it starts something; else it stops it."""
        return self.work.settings is not None


class Launches:
    """All of them, those that have ended for a while."""

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._guard = threading.Lock()
        self._known: dict[tuple[str, str], Launch] = {}
        self._longest_s = longest_s

    def of(self, owner: str, label: str) -> Launch | None:
        """The last one of a person's stack with this label."""
        with self._guard:
            return self._known.get((owner, label))

    def all_of(self, owner: str) -> list[Launch]:
        """Of a person, the newest first."""
        with self._guard:
            found = [launch for launch in self._known.values() if launch.owner == owner]
        return sorted(found, key=lambda launch: launch.begun, reverse=True)

    def begin(self, owner: str, work: Work, kubeconfig: str) -> Launch:
        """Start one; it goes on by itself.

        Args:
            kubeconfig: with the person's token.

        Raises:
            RefusedError: too many run.
        """
        launch = Launch(owner, work, time.monotonic())
        with self._guard:
            running = [one for one in self._known.values() if one.ended is None]
            if sum(one.owner == owner for one in running) >= AT_ONCE_OF_ONE:
                raise RefusedError(429, "you have something else being started or stopped: wait until that is done")
            if len(running) >= AT_ONCE:
                raise RefusedError(429, "others are starting and stopping things: try again in a minute")
            self._known.pop((owner, launch.label), None)
            self._known[owner, launch.label] = launch
            self._forget()
        threading.Thread(target=self._follow, args=(launch, kubeconfig), daemon=True).start()
        return launch

    def _forget(self) -> None:
        """The oldest that have ended, where there are many."""
        over = [key for key, one in self._known.items() if one.ended is not None]
        for key in over[: max(0, len(self._known) - MOST_KEPT)]:
            del self._known[key]

    def _follow(self, launch: Launch, kubeconfig: str) -> None:
        work = launch.work
        try:
            ended = self._run(work, kubeconfig)
        except (OSError, ValueError) as error:
            log.exception("%s", work.stack)
            ended = Ended(ok=False, what=f"the portal cannot start it ({type(error).__name__})", todo="try again")
        log.info("%s %s", work.stack, "is done" if ended.ok else ended.what)
        launch.ended = ended

    def _run(self, work: Work, kubeconfig: str) -> Ended:
        home = Path(tempfile.mkdtemp(prefix="launch-"))
        # The token is in a file that has no name: it is nobody's to open but this process's and its child's.
        secret = os.memfd_create("kubeconfig")
        try:
            os.write(secret, kubeconfig.encode())
            environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
            environment |= {"PRIMAGE_HOME": str(home), "HOME": str(home), "PRIMAGE_KUBECONFIG": f"/proc/self/fd/{secret}"}
            done = subprocess.run(
                [sys.executable, "-m", "portal.launcher"],
                input=work.model_dump_json().encode(),
                capture_output=True,
                pass_fds=[secret],
                env=environment,
                cwd=home,
                timeout=self._longest_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ended(
                ok=False,
                what=f"it was not all started within {self._longest_s:.0f} s; what has started goes on",
                todo="start it again with the same settings, or stop it",
            )
        finally:
            os.close(secret)
            shutil.rmtree(home, ignore_errors=True)
        if done.returncode or not done.stdout:
            log.error("%s: status %s: %s", work.stack, done.returncode, done.stderr[-2000:].decode(errors="replace"))
            return Ended(ok=False, what=f"starting or stopping it has failed (status {done.returncode})", todo="try again")
        return Ended.model_validate_json(done.stdout[-MOST_SAID:].splitlines()[-1])
