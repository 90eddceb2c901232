"""Pages as programs: the commands and files that a page shows, run in a copy of the checkout as a reader would.

- In a `console` or `bash` block, a line that starts with `$ ` is a command, and the lines below it are its output. Where a page
  shows no output, any will do. `…` stands for any text, on a line of its own for any lines, and `<word>` for one word.
- `^C` on a line of its own: the reader presses Ctrl-C once the output above it is there.
- A command may fail only where the page shows its `Error:`.
- A `yaml` block whose first line is `# PATH` is written to that file.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (?P<path>[\w./-]+\.ya?ml)\n")
PROMPT = "$ "
INTERRUPT = "^C"
LONGEST_S = 600
CHANGING = re.compile(r"\d+(\.\d+)?(?= s\b)|\d+(\.\d+)?(?=/s\b)|(?<=Slurm job )\d+|\d+(?= stack files?\b)")
"""Numbers that differ from run to run: seconds, rates, Slurm's job numbers, and how many stack files a checkout has."""


@dataclass(frozen=True)
class File:
    """A file that the page shows."""

    path: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command that the page shows, with the lines of output below it."""

    text: str
    shown: tuple[str, ...]

    @property
    def fails(self) -> bool:
        """Whether the page shows an error."""
        return any(line.startswith("Error:") for line in self.shown)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of each fenced block, without the indentation that a list gives it."""
    for found in FENCE.finditer(text):
        yield found["language"], textwrap.dedent(found["body"])


def steps(text: str) -> list[Command | File]:
    """What a reader of the page does, in its order."""
    found: list[Command | File] = []
    for language, body in blocks(text):
        if language == "yaml" and (name := FILE_NAME.match(body)):
            found.append(File(name["path"], body))
        elif language in {"console", "bash"}:
            found += _commands(body)
    return found


def _commands(body: str) -> Iterator[Command]:
    text, shown = "", []
    for line in body.replace("\\\n", "").splitlines():
        if line.startswith(PROMPT):
            if text:
                yield Command(text, tuple(shown))
            text, shown = line.removeprefix(PROMPT), []
        elif text:
            shown.append(line)
    if text:
        yield Command(text, tuple(shown))


def every_command(text: str) -> list[str]:
    """All `primage` commands in a page's blocks, also those without a prompt."""
    lines = (line.strip() for _, body in blocks(text) for line in body.replace("\\\n", "").splitlines())
    return [line.removeprefix(PROMPT) for line in lines if line.removeprefix(PROMPT).startswith("primage ")]


def pattern(shown: tuple[str, ...]) -> re.Pattern[str]:
    """What printed text must match to be the output that is shown."""
    lines = [r"(?:.*\n)*" if line.strip() == "…" else _line(line) + r"\n" for line in _without_end(shown)]
    return re.compile("".join(lines))


def _line(text: str) -> str:
    parts = re.split(r"(…|<\w+>)", _steady(text.strip()))
    return "".join(".*" if part == "…" else r"\S+" if re.fullmatch(r"<\w+>", part) else re.escape(part) for part in parts)


def _without_end(lines: tuple[str, ...]) -> list[str]:
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def _steady(text: str) -> str:
    return CHANGING.sub("N", text)


def printed(text: str) -> str:
    """Printed text as `pattern` matches it."""
    lines = [_steady(line.strip()) for line in text.splitlines()]
    return "".join(f"{line}\n" for line in _without_end(tuple(lines)))


def copy_checkout(repository: Path, target: Path) -> Path:
    """The files that a clean clone of this tree has."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, copy = repository / name, target / name
        if source.is_symlink() or source.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    return target


class Reader:
    """Somebody who does what a page says, in a checkout of their own."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout
        programs = Path(sys.executable).parent
        self._environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        self._environment.pop("PRIMAGE_REPOSITORY", None)

    def follow(self, text: str, wanted: Callable[[Command], bool] = lambda _: True) -> list[Command]:
        """Write the page's files and run its commands, in order; returns the commands that were run.

        Raises:
            AssertionError: a command ends otherwise, or prints something else, than the page shows.
        """
        done = []
        for step in steps(text):
            if isinstance(step, File):
                self.write(step)
            elif wanted(step):
                self.run(step)
                done.append(step)
        return done

    def write(self, file: File) -> None:
        """Write a file that the page shows, inside the checkout."""
        path = self._checkout / file.path
        assert path.resolve().is_relative_to(self._checkout.resolve()), file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)

    def run(self, command: Command) -> None:
        """Run one command and compare."""
        if INTERRUPT in command.shown:
            self._interrupted(command)
            return
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command.text}"],
            cwd=self._checkout,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        said = f"$ {command.text}\n{done.stdout}{done.stderr}(status {done.returncode})"
        assert (done.returncode != 0) == command.fails, f"the page shows {'an' if command.fails else 'no'} error:\n{said}"
        # Progress comes before an error on standard error; what a page shows is the error itself.
        told = done.stderr[max(0, done.stderr.find("Error:")) :] if command.fails else done.stdout
        if _without_end(command.shown):
            assert pattern(command.shown).fullmatch(printed(told)), (
                "the page shows:\n" + "\n".join(command.shown) + f"\nnot:\n{said}"
            )

    def _interrupted(self, command: Command) -> None:
        """Wait for the output that is shown, then press Ctrl-C."""
        wanted = pattern(command.shown[: command.shown.index(INTERRUPT)])
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command.text}"],
            cwd=self._checkout,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            text = _read_until(process, lambda said: bool(wanted.fullmatch(printed(said))))
            assert wanted.fullmatch(printed(text)), "the page shows:\n" + "\n".join(command.shown) + f"\nnot:\n{text}"
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(timeout=60) in {0, 130, -signal.SIGINT}
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=60)
            assert process.stdout
            process.stdout.close()


def _read_until(process: subprocess.Popen[bytes], enough: Callable[[str], bool]) -> str:
    """Standard output until it is enough, the process has ended, or the time is up."""
    assert process.stdout
    said, end = b"", time.monotonic() + LONGEST_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not enough(said.decode(errors="replace")) and time.monotonic() < end:
            if not selector.select(timeout=1):
                continue
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                break
            said += piece
    return said.decode(errors="replace")
