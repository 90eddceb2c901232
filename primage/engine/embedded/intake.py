"""A program's declarations, taken in, sorted by kind, and handed to who works on them: the renderer, the planner or the applier."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from primage.clients.cluster import Ref, Refused
from primage.engine.embedded import dynamic
from primage.engine.embedded.declaration import DeclaredDynamic, DeclaredObject, object_of
from primage.engine.embedded.failures import Failures
from primage.engine.embedded.monitor import Registered, Registration, run_program
from primage.engine.embedded.operation import Operation
from primage.engine.embedded.outputs import referred
from primage.engine.embedded.values import Decoded
from primage.engine.ownership import Scope
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.readiness import require_known_wait
from primage.projects.connection import Connection
from primage.projects.project import StackName

USUAL = Connection("", "")
"""The cluster of objects whose provider the program does not configure."""
ReadOutputs = Callable[[StackName], dict[str, Any]]


class Stopped(PrimageError):
    """A resource was not started because another one failed."""


class Worker(Protocol):
    """Works on declarations; called from many threads, for each after what it depends on."""

    def take_object(self, declared: DeclaredObject) -> Registered:
        """An object of a cluster."""

    def take_dynamic(self, declared: DeclaredDynamic) -> Registered:
        """A resource of a dynamic provider."""


def run(
    operation: Operation, worker: Worker, read_outputs: ReadOutputs, *, preview: bool, failures: Failures | None = None
) -> Decoded:
    """Run a stack's program to its end, a worker doing what is declared; its outputs.

    Args:
        read_outputs: outputs of the stacks that the program refers to.
        preview: whether the program is told it is a dry run.
        failures: noted there too while the program runs.

    Raises:
        PrimageError: everything that went wrong, together.
    """
    noted = Failures() if failures is None else failures
    intake = Intake(worker, operation.scope, read_outputs, noted)
    project = operation.project
    try:
        run_program(
            project.program,
            project=project.name,
            stack=operation.name.stack,
            config=operation.config,
            preview=preview,
            host=intake,
        )
    except PrimageError:
        if not noted:
            raise
    if noted:
        raise noted.together()
    return intake.stack_outputs


@dataclass
class Intake:
    """Implements `monitor.Host`.

    Attributes:
        scope: where objects may be.
        stack_outputs: the stack's own, complete when the program has ended.
    """

    worker: Worker
    scope: Scope
    read_outputs: ReadOutputs
    failures: Failures

    stack_outputs: Decoded = field(default_factory=lambda: Decoded({}, frozenset(), frozenset()))
    _levels: dict[str, int] = field(default_factory=dict)
    _providers: dict[str, Connection] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    # -- what the program calls ------------------------------------------------------------------------------------

    def register(self, registration: Registration) -> Registered:
        """One resource; from a thread of its own, after what it depends on."""
        order, level = self._place(registration)
        if self.failures:
            raise Stopped(f"{registration.name} was not started because another resource failed")
        try:
            return self._sort(registration, order, level)
        except Refused as refusal:
            raise self._noted(_in_words(registration, refusal)) from refusal
        except PrimageError as error:
            raise self._noted(error) from error

    def read_stack(self, full_name: str) -> dict[str, Any]:
        """Outputs of another stack, by its full name."""
        try:
            return self.read_outputs(referred(full_name))
        except PrimageError as error:
            raise self._noted(error) from error

    def outputs(self, values: Decoded) -> None:
        """The stack's own outputs, at the program's end."""
        self.stack_outputs = values

    # -- kinds of resource -----------------------------------------------------------------------------------------

    def _place(self, registration: Registration) -> tuple[int, int]:
        """A resource's position in dependency order, and its distance from those without dependencies."""
        with self._guard:
            level = 1 + max((self._levels.get(urn, 0) for urn in registration.dependencies), default=0)
            self._levels[registration.urn] = level
            return len(self._levels), level

    def _sort(self, registration: Registration, order: int, level: int) -> Registered:
        inputs = dict(registration.inputs.value)
        if not registration.custom:
            return Registered("", inputs)
        if registration.type == "pulumi:providers:kubernetes":
            with self._guard:
                self._providers[registration.urn] = Connection(str(inputs.get("kubeconfig", "")), str(inputs.get("context", "")))
            return Registered(registration.name, inputs)
        if registration.type.startswith("kubernetes:") and "apiVersion" in inputs:
            return self.worker.take_object(self._object(registration, order, level))
        if dynamic.is_dynamic(registration.type):
            provider = dynamic.find_provider(registration.type, registration.name)
            return self.worker.take_dynamic(DeclaredDynamic(registration, order, level, provider))
        raise PrimageError(
            f"the embedded engine does not know resources of type {registration.type} (resource {registration.name})",
            todo="install the Pulumi CLI and use --engine pulumi",
            code=ExitCode.UNSUPPORTED,
        )

    def _object(self, registration: Registration, order: int, level: int) -> DeclaredObject:
        obj = object_of(registration)
        require_known_wait(obj)
        if why := self.scope.objection(Ref.of(obj)):
            raise PrimageError(f"{Ref.of(obj)} {why}", todo="have the app declare what belongs to its VO or member alone")
        with self._guard:
            connection = self._providers.get(registration.provider, USUAL)
        return DeclaredObject(registration, order, level, obj, connection)

    def _noted(self, error: PrimageError) -> PrimageError:
        self.failures.note(error)
        return error


def _in_words(registration: Registration, refusal: Refused) -> PrimageError:
    obj = registration.inputs.value
    meta = obj.get("metadata", {})
    label = f"{obj.get('kind', registration.type)} {meta.get('namespace', '')}/{meta.get('name', registration.name)}"
    todo = {
        "Forbidden": "ask the site's operator for the right to do this, or lower what is asked for to the limits it names",
        "Conflict": "somebody else owns that field: undo their change, or take it over with the annotation pulumi.com/patchForce",
        "Invalid": "correct the field it names in the stack's settings",
        "NotFound": "create what is missing first: is the site up, and does it serve this VO?",
        "Unauthorized": "the credentials in the kubeconfig are not valid (any more): fetch new ones",
    }.get(refusal.reason, "correct what it names, then run the same command again")
    return PrimageError(
        f"{label} was refused by the API server: {refusal.message}", where=f"resource {registration.name}", todo=todo
    )
