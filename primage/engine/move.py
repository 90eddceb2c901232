"""Taking a standing stack of the embedded engine over to Pulumi's: the state that `pulumi up` would have written.

`pulumi import` reads objects back one by one, knows neither components nor dynamic providers, and would apply with a
field manager of its own, so that every later change is a conflict with the embedded engine's. So the program is run once
more, each declaration is paired with the live object, and the whole becomes a deployment for `pulumi stack import`. No
object is touched. The move is done when a preview by Pulumi changes nothing; else Pulumi forgets the stack again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from primage.engine.api import Event, Options, Result
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.engine import EmbeddedEngine, read_outputs_for
from primage.engine.embedded.monitor import run_program
from primage.engine.embedded.state import StackState, Status
from primage.engine.moved import aside
from primage.engine.pulumi_cli.command import Workspace, workspace
from primage.engine.pulumi_cli.engine import PulumiEngine, noted, require_site, run, stack_of
from primage.engine.recorder import Recorder
from primage.errors import ExitCode, PrimageError
from primage.projects.overrides import effective_config
from primage.projects.project import Project, StackName, project_of


@dataclass(frozen=True)
class Moved:
    """What was taken over.

    Attributes:
        resources: how many, components and providers among them.
        objects: how many of these are objects of the cluster.
        kept: where the embedded engine's state is kept aside.
    """

    stack: str
    resources: int
    objects: int
    kept: str


def move_to_pulumi(name: StackName, options: Options) -> Moved:
    """Have Pulumi's engine, with the backend of `pulumi login`, own what the embedded engine owns.

    Raises:
        PrimageError: something of the stack cannot be moved, or a preview would change it; nothing is changed then.
    """
    project, engine = project_of(name), EmbeddedEngine()
    store = engine.store(name)
    with store.lock(), workspace(name, options.overrides) as here:
        state = store.load()
        _require_finished(name, state)
        exists = _require_empty(here, name)
        recorder = _record(name, project, options, state, engine)
        options.listener(Event(str(name), "recorded", f"{len(recorder.resources)} resources"))
        with stack_of(here, name, exists=exists):
            empty = run(here, name, "stack", "export")
            try:
                _import(here, name, filled(empty, recorder.resources))
                options.listener(Event(str(name), "imported"))
                _require_same(PulumiEngine().preview_in(here, name, options), name)
            except BaseException:
                _import(here, name, empty)
                raise
        path = aside(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_bytes(store.text(state))
        store.remove()
    objects = sum(resource["type"].startswith("kubernetes:") for resource in recorder.resources)
    return Moved(str(name), len(recorder.resources), objects, str(path))


def _require_finished(name: StackName, state: StackState) -> None:
    if not state.resources:
        raise PrimageError(f"{name} is not up by the embedded engine: there is nothing to move", code=ExitCode.INVALID)
    unfinished = [f"{entry.label} ({entry.status})" for entry in state.resources.values() if entry.status is not Status.READY]
    if unfinished:
        raise PrimageError(
            f"{name} cannot be moved while the last `up` or `destroy` of it is not finished: {', '.join(unfinished[:10])}",
            todo=f"run `primage up {name} --engine embedded` to its end, then move it",
        )


def _require_empty(here: Workspace, name: StackName) -> bool:
    """Refuse a stack of which Pulumi's backend has resources, and an app whose site it does not have; whether it has the stack."""
    before = noted(here, name)
    if known := (before or {}).get("resources"):
        raise PrimageError(
            f"Pulumi's backend has a stack {name.stack} of this project already, with {len(known)} resources",
            todo=f"destroy it there (`primage destroy {name} --engine pulumi`), or `pulumi login` to another backend",
        )
    require_site(name)
    return before is not None


def _record(name: StackName, project: Project, options: Options, state: StackState, engine: EmbeddedEngine) -> Recorder:
    recorder = Recorder(name, project, state, engine.cluster_of(name), read_outputs_for(name, Clusters()))
    run_program(
        project.program,
        project=project.name,
        stack=name.stack,
        config=effective_config(project, name, options.overrides),
        preview=False,
        host=recorder,
    )
    recorder.finish()
    return recorder


def filled(empty: str, resources: list[dict[str, Any]]) -> str:
    """An empty deployment, which says how secrets are encrypted, with these resources."""
    document = json.loads(empty)
    document["deployment"]["resources"] = resources
    return json.dumps(document)


def _import(here: Workspace, name: StackName, deployment: str) -> None:
    file = here.folder / "deployment.json"
    file.touch(mode=0o600)
    file.write_text(deployment)
    run(here, name, "stack", "import", "--file", str(file))
    file.unlink()


def _require_same(planned: Result, name: StackName) -> None:
    changed = [
        f"{change.label}: {change.action} {', '.join(field.path for field in change.fields)}" for change in planned.changed()
    ]
    if changed:
        raise PrimageError(
            f"{name} was not moved, because Pulumi would change it:\n  " + "\n  ".join(changed[:20]) + "\n",
            todo=f"run `primage up {name} --engine embedded`, so that what is there is what the program says, then move it",
        )
