"""The engines' common face, and which one to use."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from primage.clients.cluster import Object
from primage.engine.changes import Event, Listener, Result
from primage.errors import ExitCode, PrimageError
from primage.projects.project import StackName


class EngineKind(StrEnum):
    """How a program is run."""

    AUTO = "auto"
    PULUMI = "pulumi"
    EMBEDDED = "embedded"


def silent(_: Event) -> None:
    """A listener for who does not watch."""


@dataclass(frozen=True)
class Options:
    """How an operation is to go.

    Attributes:
        overrides: settings in place of those in the stack's file, by dotted path (`job.image`).
        listener: told of progress on each resource, from many threads.
        timeout_s: how long one object may take to get ready where nothing else says.
    """

    overrides: Mapping[str, Any] = field(default_factory=dict)
    listener: Listener = silent
    timeout_s: float = 600.0


class Engine(Protocol):
    """Brings what a stack's program declares about."""

    def preview(self, name: StackName, options: Options) -> Result:
        """What `up` would change; nothing is changed."""

    def up(self, name: StackName, options: Options) -> Result:
        """Bring it about, wait until it is ready, remove what left the program."""

    def destroy(self, name: StackName, options: Options) -> Result:
        """Remove everything the stack owns."""

    def outputs(self, name: StackName) -> dict[str, Any]:
        """The stack's outputs, secret ones masked."""

    def render(self, name: StackName, options: Options) -> list[Object]:
        """The Kubernetes objects the program stands for, offline."""


def choose_engine(kind: EngineKind) -> Engine:
    """The engine asked for; `auto` is the Pulumi CLI where it is installed, else the embedded one."""
    has_cli = shutil.which("pulumi") is not None
    if kind is EngineKind.PULUMI and not has_cli:
        raise PrimageError(
            "the Pulumi CLI is not on PATH",
            todo="install it, or use --engine embedded",
            code=ExitCode.UNSUPPORTED,
        )
    if kind is EngineKind.PULUMI or (kind is EngineKind.AUTO and has_cli):
        from primage.engine.pulumi_cli.engine import PulumiEngine

        return PulumiEngine()
    from primage.engine.embedded.engine import EmbeddedEngine

    return EmbeddedEngine()
