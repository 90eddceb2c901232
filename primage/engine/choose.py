"""Which engine runs a program."""

from __future__ import annotations

import shutil
from enum import StrEnum

from primage.engine import moved
from primage.engine.api import Engine
from primage.errors import ExitCode, PrimageError
from primage.projects.project import StackName


class EngineKind(StrEnum):
    """How a program is run."""

    AUTO = "auto"
    PULUMI = "pulumi"
    EMBEDDED = "embedded"


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


def engine_of(name: StackName) -> EngineKind:
    """The engine that has a stack whose state is on this machine: the embedded one, until it is moved to Pulumi's."""
    return EngineKind.PULUMI if moved.aside(name).exists() else EngineKind.EMBEDDED
