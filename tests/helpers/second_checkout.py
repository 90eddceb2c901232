"""Another operator's machine: a second checkout, an empty home, no state, and a kubeconfig. And what is looked at from there.

The three stacks stand already, whichever engine brought them up: a batch job that failed, an application with a dead letter,
and a session.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from documents import copy_checkout
from turns import turn

VO = "vo-dot-primage-dot-eu"
SMALL = {"image": "primage/base:1", "cpu": "100m", "memory": "64Mi"}
FAILS = {"name": "fails", **SMALL, "command": ["sh", "-c", "echo reading slice 17; exit 7"], "backoff_limit": 0}
WORDS = {
    "name": "words",
    "parallelism": 1,
    "producer": {"arguments": ["alveola", "carina"], "cpu": "100m"},
    "consumer": {**SMALL, "tries": 1, "command": ["sh", "-c", 'test "$1" != carina', "x"]},
}
COMMAND_S = 400


@dataclass(frozen=True)
class Stacks:
    """The three stacks, as runs of one name."""

    run: str

    @property
    def batch(self) -> str:
        """A job that fails."""
        return f"batch/vo.primage.eu.local--{self.run}"

    @property
    def htc(self) -> str:
        """An application, one of whose arguments fails."""
        return f"htc/vo.primage.eu.local--{self.run}"

    @property
    def web(self) -> str:
        """A session."""
        return f"web/vo.primage.eu.local--{self.run}"

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """By stack, its settings on the command line."""
        return {self.batch: {"job": FAILS}, self.htc: {"htc": WORDS}, self.web: {"web": {"folder": "HOME/shared", "login": False}}}


@dataclass(frozen=True)
class SecondCheckout:
    """`primage` over there."""

    folder: Path
    environment: dict[str, str]
    stacks: Stacks

    @staticmethod
    def make(folder: Path, kubeconfig: str, stacks: Stacks) -> SecondCheckout:
        """A copy of this checkout, with what is not committed yet, and a home with nothing but the kubeconfig."""
        checkout, home = copy_checkout(Path(__file__).resolve().parents[2], folder / "checkout"), folder / "home"
        home.mkdir()
        (home / "kubeconfig").write_bytes(Path(kubeconfig).read_bytes())
        return SecondCheckout(
            checkout,
            {
                "PATH": "/usr/bin:/bin",
                "HOME": str(home),
                "PRIMAGE_HOME": str(home / "primage"),
                "PRIMAGE_KUBECONFIG": str(home / "kubeconfig"),
                "PYTHONPATH": str(checkout),
            },
            stacks,
        )

    def __call__(self, *arguments: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "primage", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The document that a command prints."""
        return json.loads(self(*arguments, "--json"))


def require_status(there: SecondCheckout) -> None:
    """The site's objects, each stack's, and none of one that is not up."""
    site = there.json("status", "local")["objects"]
    assert len(site) > 50
    assert {row["state"] for row in site} == {"ready"}
    (job,) = there.json("status", there.stacks.batch)["objects"]
    assert (job["object"], job["state"]) == (f"Job {VO}/fails-{there.stacks.run}", "failed")
    kinds = {row["object"].split()[0] for row in there.json("status", there.stacks.htc)["objects"]}
    assert kinds == {"Job", "NetworkPolicy", "Secret", "Service", "StatefulSet"}
    assert "it is not up" in there("status", "batch/vo.primage.eu.local--nothing")


def require_why(there: SecondCheckout) -> None:
    """The last lines of what failed, and the next command."""
    (batch,) = there.json("why", there.stacks.batch)["answers"]
    assert (batch["state"], batch["lines"]) == ("failed", ["reading slice 17"])
    assert "ended with status 7" in batch["reason"]
    (htc,) = there.json("why", there.stacks.htc)["answers"]
    assert any("argument 'carina'" in line for line in htc["lines"])
    assert f"`primage queue dead {there.stacks.htc}`" in htc["todo"]
    assert "local: ready" in there("why", "local")


def require_logs_and_queue(there: SecondCheckout) -> None:
    """What jobs wrote, how the queue stands, and what failed for good."""
    assert there("logs", there.stacks.batch) == "reading slice 17\n"
    assert "argument 'carina'" in there("logs", there.stacks.htc)
    standing = there.json("queue", "status", there.stacks.htc)
    assert (standing["done"], standing["dead"], standing["finished"]) == (1, 1, True)
    (letter,) = there.json("queue", "dead", there.stacks.htc)
    assert letter["argument"] == "carina"


def require_page(there: SecondCheckout) -> None:
    """The session's own page, asked for once; then the way to it is closed."""
    command = [sys.executable, "-m", "primage", "open", there.stacks.web, "--engine", "embedded", "--json"]
    with subprocess.Popen(command, cwd=there.folder, env=there.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            said = [process.stdout.readline() for _ in range(3)]
        finally:
            process.terminate()
    assert json.loads("".join(said))["url"].startswith("http://127.0.0.1:")


def require_checks(there: SecondCheckout) -> None:
    """All checks of the site."""
    with turn("check"):
        checks = there.json("check", "local", "--engine", "embedded")["checks"]
    assert [check for check in checks if not check["ok"]] == []


LOOKS = (require_status, require_why, require_logs_and_queue, require_page)
EVERYTHING = (*LOOKS, require_checks)
