"""What a program stands for, with no cluster and no state: its objects and its outputs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from primage.clients.cluster import Object
from primage.engine.api import Options
from primage.engine.embedded.declaration import DeclaredDynamic, DeclaredObject, properties_of
from primage.engine.embedded.intake import ReadOutputs, run
from primage.engine.embedded.monitor import Registered
from primage.engine.embedded.objects import masked
from primage.engine.embedded.operation import Operation
from primage.errors import PrimageError
from primage.projects.project import StackName


class Renderer:
    """Implements `intake.Worker`: keeps what is declared.

    Attributes:
        objects: in the order they were declared, secrets masked.
    """

    def __init__(self) -> None:
        self.objects: list[Object] = []
        self._guard = threading.Lock()

    def take_object(self, declared: DeclaredObject) -> Registered:
        """Keep it."""
        with self._guard:
            self.objects.append(masked(declared.obj, declared.hidden))
        return properties_of(declared.obj, preview=True)

    def take_dynamic(self, declared: DeclaredDynamic) -> Registered:
        """It has no object until it is made."""
        return declared.registered()


@dataclass(frozen=True)
class Rendered:
    """What a program stands for.

    Attributes:
        objects: secrets masked.
        outputs: as the program gives them.
    """

    objects: list[Object]
    outputs: dict[str, Any]


def render(name: StackName, options: Options) -> Rendered:
    """Run a stack's program with no cluster at all."""
    renderer = Renderer()
    outputs = run(Operation.of(name, options), renderer, offline_outputs_for(name), preview=True)
    return Rendered(renderer.objects, dict(outputs.value))


def offline_outputs_for(name: StackName) -> ReadOutputs:
    """How a stack's program reads other stacks offline: an app its site, whose program is run now.

    Before the app's and not when it is asked for, since Pulumi's runtime holds one program at a time.
    """
    offered = {} if not name.app else {StackName(name.site): render(StackName(name.site), Options()).outputs}

    def read(other: StackName) -> dict[str, Any]:
        if other not in offered:
            raise PrimageError(f"the program of {name} refers to stack {other}; offline, only an app's site can be referred to")
        return offered[other]

    return read
