"""Outputs of stacks: which of a stack's own may be kept and shown, and what another one left."""

from __future__ import annotations

from typing import Any

from primage.contract.names import SITE_PROJECT
from primage.engine.api import MASK
from primage.engine.embedded.stores import file_store
from primage.engine.embedded.values import Decoded
from primage.errors import ExitCode, PrimageError
from primage.paths import repository_root
from primage.projects.project import StackName, all_projects, parse_stack_name


def kept(outputs: Decoded) -> tuple[dict[str, Any], list[str]]:
    """The outputs whose values may be kept, and the names of the secret ones."""
    hidden = _hidden(outputs)
    return {key: value for key, value in outputs.value.items() if key not in hidden}, sorted(hidden)


def shown(outputs: Decoded) -> dict[str, Any]:
    """All of them, secret ones masked."""
    hidden = _hidden(outputs)
    return {key: MASK if key in hidden else value for key, value in outputs.value.items()}


def _hidden(outputs: Decoded) -> set[str]:
    return {str(path[0]) for path in outputs.secrets if path}


def referred(full_name: str) -> StackName:
    """The stack that a program refers to as `organization/project/stack`.

    Raises:
        PrimageError: no project here is called so.
    """
    _, _, rest = full_name.partition("/")
    project_name, _, stack = rest.partition("/")
    project = next((p for p in all_projects(repository_root()) if p.name == project_name), None)
    if project is None:
        raise PrimageError(f"the program refers to stack {full_name}, and no project here is called {project_name}")
    return parse_stack_name(stack if project_name == SITE_PROJECT else f"{project.folder.name}/{stack}")


def read_kept(name: StackName) -> dict[str, Any]:
    """What the last `up` of a stack kept on this machine.

    Raises:
        PrimageError: it is not up, or an output of it is secret, so that its value was not kept.
    """
    state = file_store(name).load()
    if not state.outputs:
        raise PrimageError(
            f"stack {name}, which this one refers to, is not up",
            todo=f"run `primage up {name}` first",
            code=ExitCode.FAILED,
        )
    if state.secret_outputs:
        raise PrimageError(
            f"output {state.secret_outputs[0]} of stack {state.stack} is secret and is not kept by the embedded engine",
            todo="have the program output the name of a Kubernetes Secret instead",
            code=ExitCode.UNSUPPORTED,
        )
    return state.outputs
