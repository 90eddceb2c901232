"""One operation on a stack: what every part of the engine knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from primage.engine import protection
from primage.engine.api import Options
from primage.engine.ownership import Owner, Scope
from primage.projects.overrides import effective_config
from primage.projects.project import Project, StackName, project_of


@dataclass(frozen=True)
class Operation:
    """A stack, its project, and how it is to go."""

    name: StackName
    project: Project
    options: Options

    @staticmethod
    def of(name: StackName, options: Options) -> Operation:
        """An operation on a stack of a project of the checkout."""
        return Operation(name, project_of(name), options)

    @property
    def owner(self) -> Owner:
        """Whose the stack's objects are."""
        return Owner.of(self.name, self.project)

    @property
    def scope(self) -> Scope:
        """Where they may be."""
        return Scope.of(self.name)

    @property
    def protected_kinds(self) -> frozenset[str]:
        """The kinds that the stack's settings protect."""
        return protection.protected_kinds(self.project, self.name, self.options.overrides)

    @property
    def config(self) -> dict[str, Any]:
        """The stack's settings, with those of the command line."""
        return effective_config(self.project, self.name, self.options.overrides)
