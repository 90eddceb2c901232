"""Steps that depend on each other, run side by side where they can, each with progress and one named log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from primage.errors import PrimageError


@dataclass
class Step:
    """One step.

    Attributes:
        name: also the name of its log.
        title: what it does, for a person.
        run: given the log file and a function that tells how far it is (0 to 1, and what it is at).
        needs: names of the steps it comes after.
        seconds: how long it took, once it has ended.
    """

    name: str
    title: str
    run: Callable[[Path, Callable[[float, str], None]], None]
    needs: Sequence[str] = ()
    seconds: float = field(default=0.0, init=False)


def run_steps(steps: Sequence[Step], logs: Path) -> None:
    """Run every step after what it needs, at most four at a time.

    Raises:
        PrimageError: of the first step that failed, once the others that were running have ended.
    """
    logs.mkdir(parents=True, exist_ok=True)
    waiting = {step.name: step for step in steps}
    done: set[str] = set()
    running: dict[Future[None], Step] = {}
    with _Display(steps) as display, ThreadPoolExecutor(max_workers=4, thread_name_prefix="step") as pool:
        while waiting or running:
            for name in [n for n, s in waiting.items() if done.issuperset(s.needs)]:
                step = waiting.pop(name)
                log = logs / f"{name}.log"
                running[pool.submit(_timed, step, log, display)] = step
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                step = running.pop(future)
                error = future.exception()
                if error:
                    display.failed(step)
                    waiting.clear()
                    display.wait_for_rest(list(running.values()))
                    wait(running)
                    raise _named(error, step, logs)
                done.add(step.name)
                display.ended(step)


def _timed(step: Step, log: Path, display: _Display) -> None:
    started = time.monotonic()
    try:
        step.run(log, lambda fraction, what: display.update(step, fraction, what))
    finally:
        step.seconds = time.monotonic() - started


def _named(error: BaseException, step: Step, logs: Path) -> BaseException:
    if isinstance(error, PrimageError) and not error.where:
        return PrimageError(
            f"step {step.name}: {error.what}", where=str(logs / f"{step.name}.log"), todo=error.todo, code=error.code
        )
    return error


class _Display:
    """Bars on a terminal; elsewhere a line when a step starts, every half minute, and when it ends."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._guard = threading.Lock()
        self._steps = steps
        self._progress: Progress | None = None

    def __enter__(self) -> _Display:
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description:<44}"),
                BarColumn(24),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[what]}"),
            )
            self._progress = Progress(*columns, console=self._console)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def update(self, step: Step, fraction: float, what: str) -> None:
        """How far a step is."""
        with self._guard:
            if self._progress:
                if step.name not in self._bars:
                    self._bars[step.name] = self._progress.add_task(step.title, total=1.0, what="")
                self._progress.update(self._bars[step.name], completed=fraction, what=what[:60])
            elif time.monotonic() - self._said.get(step.name, 0) > 30:
                self._said[step.name] = time.monotonic()
                share = f" {fraction:.0%}" if fraction else ""
                self._console.print(f"  {step.title}{share}: {what[:100]}", markup=False)

    def ended(self, step: Step) -> None:
        """A step is done."""
        self.update(step, 1.0, "done")
        if not self._progress:
            self._console.print(f"✓ {step.title} ({step.seconds:.1f} s)", markup=False)

    def failed(self, step: Step) -> None:
        """A step has failed."""
        self._console.print(f"✗ {step.title} ({step.seconds:.1f} s)", markup=False)

    def wait_for_rest(self, steps: Sequence[Step]) -> None:
        """Others are still running, and are let end."""
        for step in steps:
            self._console.print(f"  waiting for: {step.title}", markup=False)
