"""Calls of Pulumi's CLI: each in a folder of its own, so that nothing is written into the checkout, and none without an end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from primage.errors import PrimageError
from primage.projects.loader import read_yaml
from primage.projects.overrides import effective_config, holds_ciphers
from primage.projects.project import Project, StackName, project_of

SHORT_S = 120
"""Longest that a command may take that makes and waits for nothing."""
STOP_S = 60
"""How long Pulumi may take to write down what it was at when it is told to stop."""
TICK_S = 0.2
LAST_LINES = 15
_LOCK = re.compile(r"created by (?P<user>\S+)@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<when>\S+)")

Event = dict[str, Any]
"""One line of Pulumi's event log."""


class CommandFailed(Exception):
    """Pulumi ended with a status other than 0.

    Attributes:
        said: what it printed, both streams.
    """

    def __init__(self, said: str) -> None:
        self.said = said
        super().__init__(said)

    @property
    def locks(self) -> list[dict[str, str]]:
        """Who holds the stack, where that is why: user, host, pid, when."""
        return [match.groupdict() for match in _LOCK.finditer(self.said)] if "currently locked by" in self.said else []

    def last_lines(self) -> str:
        """The end of what it printed."""
        return "\n  ".join([line for line in self.said.splitlines() if line.strip()][-LAST_LINES:])


class NoSuchStack(CommandFailed):
    """The backend has no stack of that name."""


def _failure(said: str) -> CommandFailed:
    return NoSuchStack(said) if "no stack named" in said else CommandFailed(said)


@dataclass(frozen=True)
class Workspace:
    """A folder with a copy of the project's `Pulumi.yaml` and of the stack's settings, and the program where it is.

    Attributes:
        environment: beside this process's own.
    """

    folder: Path
    stack: str
    environment: Mapping[str, str]

    def run(self, *arguments: str, timeout_s: float = SHORT_S) -> str:
        """Standard output of a short command.

        Raises:
            CommandFailed: it ended with a status other than 0.
            PrimageError: it did not end in time.
        """
        try:
            done = subprocess.run(
                self._command(arguments),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PrimageError(
                f"`pulumi {' '.join(arguments[:2])}` did not end within {timeout_s:g} s",
                todo="see whether the backend that `pulumi login` chose answers, then run the same command again",
            ) from error
        if done.returncode != 0:
            raise _failure(f"{done.stdout}\n{done.stderr}")
        return done.stdout

    def follow(self, *arguments: str, on_event: Callable[[Event], None], on_tick: Callable[[], PrimageError | None]) -> None:
        """Run a command that may take long.

        Args:
            on_event: told of each event of its log.
            on_tick: called several times a second; an error that it returns stops the command, and is raised.

        Raises:
            CommandFailed: it ended with a status other than 0.
        """
        files = Path(tempfile.mkdtemp(dir=self.folder))  # Pulumi appends to a log that is there
        log, printed = files / "events", files / "printed"
        log.touch()
        command = self._command((*arguments, "--event-log", str(log)))
        with printed.open("wb") as out, log.open("rb") as lines:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
            try:
                while process.poll() is None:
                    _read(lines, on_event)
                    if error := on_tick():
                        raise error
                    time.sleep(TICK_S)
            except BaseException:
                _stop(process)
                raise
            _read(lines, on_event)
        if process.returncode != 0:
            raise _failure(printed.read_text(encoding="utf-8", errors="replace"))

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return ["pulumi", *arguments, "--stack", self.stack, "--non-interactive", "--color", "never"]

    def _environment(self) -> dict[str, str]:
        # Without the second one there is no --event-log; Pulumi's Automation API sets it too.
        quiet = {"PULUMI_SKIP_UPDATE_CHECK": "true", "PULUMI_DEBUG_COMMANDS": "true"}
        return {**os.environ, **quiet, **self.environment}


@contextmanager
def workspace(name: StackName, overrides: Mapping[str, Any] | None = None) -> Iterator[Workspace]:
    """A workspace for one operation on a stack; removed with all that Pulumi wrote into it.

    Args:
        overrides: for an operation that runs the program: settings in place of those in the stack's file. The others
            take the file as it is, if there is one.
    """
    project = project_of(name)
    with tempfile.TemporaryDirectory(prefix="primage-pulumi-") as folder:
        root = Path(folder)
        (root / "Pulumi.yaml").write_text(yaml.safe_dump(_project_document(project)))
        (root / f"Pulumi.{name.stack}.yaml").write_text(yaml.safe_dump(_settings_document(project, name, overrides)))
        yield Workspace(root, name.stack, {})


def elsewhere(given: Workspace, backend: Path) -> Workspace:
    """The same workspace on a backend of files of its own."""
    known = {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & set(os.environ)
    passphrase = {} if known else {"PULUMI_CONFIG_PASSPHRASE": "for a preview"}
    return replace(given, environment={**given.environment, "PULUMI_BACKEND_URL": f"file://{backend}", **passphrase})


def _project_document(project: Project) -> dict[str, Any]:
    """The project's own, with its paths made absolute."""
    document: dict[str, Any] = read_yaml(project.folder / "Pulumi.yaml")
    runtime = document.get("runtime")
    if isinstance(runtime, dict) and isinstance(runtime.get("options"), dict):
        options = dict(runtime["options"])
        if options.get("virtualenv"):
            options["virtualenv"] = str((project.folder / str(options["virtualenv"])).resolve())
        document["runtime"] = {**runtime, "options": options}
    return {**document, "main": str(project.program.resolve())}


def _settings_document(project: Project, name: StackName, overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """The stack's file with what the command line changes; encrypted values stay for Pulumi to decrypt."""
    path = project.config_file(name.config_stack)
    found = read_yaml(path) if path.is_file() else {}
    document: dict[str, Any] = found if isinstance(found, dict) else {}
    if overrides is None or (not overrides and holds_ciphers(document.get("config"))):
        return document
    return {**document, "config": effective_config(project, name, overrides)}


def _read(lines: BinaryIO, on_event: Callable[[Event], None]) -> None:
    """Whole lines that have come; what is left of one is read when its end has come too."""
    while True:
        start = lines.tell()
        line = lines.readline()
        if not line.endswith(b"\n"):
            lines.seek(start)
            return
        on_event(json.loads(line))


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Tell Pulumi to stop, which lets it note what it was at; what does not stop is killed, with its plugins."""
    for number, patience_s in ((signal.SIGINT, STOP_S), (signal.SIGKILL, None)):
        if process.poll() is None:
            # Pulumi stops its plugins itself; killed, it leaves them, and all are in its process group.
            os.killpg(process.pid, number) if number is signal.SIGKILL else process.send_signal(number)
        try:
            process.wait(patience_s)
            return
        except subprocess.TimeoutExpired:
            continue
