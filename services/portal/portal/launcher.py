"""`python -m portal.launcher`: brings one stack up, or takes it away, as somebody in particular. A process of its own for each:
an engine's run changes settings of the whole process.

Standard input has what is to be done, standard output gets how it went (portal.domain.launch); PRIMAGE_KUBECONFIG is a file with
the person's token.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path

from portal.domain.launch import Ended, Work
from primage.clients.cluster import Refused
from primage.engine.api import Action, Event, Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.projects.project import parse_stack_name

ON_CLUSTER = frozenset({"waiting", "ready"})
"""What the engine says of an object that the API server has taken."""
OBJECT = re.compile(r"[:$]kubernetes:[^:$]+:[^:$]+::")
"""In Pulumi's names of objects; other resources say nothing of how far they are."""
MOST_SAID = 4000


class _Watch:
    """Ends the process as soon as everything that the program declares is on the cluster: jobs run without being waited for.

    What is left of a run that ends anywhere can be gone on with, or taken away: an engine's state is written before each object.
    """

    def __init__(self, missing: set[str]) -> None:
        self._missing = missing
        self._guard = threading.Lock()

    def __call__(self, event: Event) -> None:
        """One resource is further than before."""
        if event.state in ON_CLUSTER:
            with self._guard:
                self._missing.discard(event.label)
                if not self._missing:
                    _say(Ended(ok=True))
                    os._exit(0)


def _up(work: Work, engine: EmbeddedEngine) -> None:
    overrides = {work.setting: work.settings}
    name = parse_stack_name(work.stack)
    planned = engine.preview(name, Options(overrides=overrides))
    coming = {
        change.label
        for change in planned.changed()
        if OBJECT.search(change.urn) and change.action in {Action.CREATE, Action.UPDATE, Action.REPLACE}
    }
    listener = _Watch(coming) if coming else Options().listener
    engine.up(name, Options(overrides=overrides, listener=listener))


def main() -> None:
    """Do it, and say how it went."""
    # Where memory is short, this process ends and not the pages.
    Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    work = Work.model_validate_json(sys.stdin.read())
    engine = EmbeddedEngine()
    try:
        if work.settings is None:
            engine.destroy(parse_stack_name(work.stack), Options())
        else:
            _up(work, engine)
    except PrimageError as error:
        _say(Ended(ok=False, what=error.what[:MOST_SAID], todo=error.todo[:MOST_SAID]))
    except Refused as refusal:
        _say(Ended(ok=False, what=f"Kubernetes refused this: {refusal.message}"[:MOST_SAID]))
    else:
        _say(Ended(ok=True))


def _say(ended: Ended) -> None:
    os.write(sys.stdout.fileno(), ended.model_dump_json().encode() + b"\n")


if __name__ == "__main__":
    main()
