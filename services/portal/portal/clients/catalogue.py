"""The applications of the repository that the portal carries: their settings' models, and what a site's file says of them."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from portal.domain.forms import Group, groups_of
from primage.contract.outputs import Settings
from primage.paths import repository_root
from primage.projects.loader import read_yaml
from primage.projects.project import Project, StackName, all_projects, load_project, stack_config
from primage.projects.validation import load_models, reference_problems, setting_problems


@dataclass(frozen=True)
class Application:
    """One of them.

    Attributes:
        says: what it is, in a line.
        setting: the one setting that it has; a file has `<project>:<setting>`.
    """

    project: Project
    says: str
    setting: str
    groups: tuple[Group, ...]

    @property
    def name(self) -> str:
        """As stacks are named after it."""
        return self.project.folder.name

    @property
    def root(self) -> str:
        """What paths in complaints begin with."""
        return f"{self.project.name}:{self.setting}"

    def serves(self, vo: str, site: str) -> bool:
        """Whether the VO has it on a site."""
        return self.project.config_file(f"{vo}.{site}").is_file()

    def settings(self, vo: str, site: str) -> Any:
        """What the VO's own file says."""
        return stack_config(self.project, StackName(site, self.name, vo)).get(self.root, {})

    def problems(self, stack: StackName, settings: dict[str, Any]) -> list[tuple[str, str]]:
        """What `primage validate` would say of a file with these settings."""
        config = {self.root: settings}
        return [*setting_problems(self.project, config), *reference_problems(stack, config, _site(stack.site))]

    def command(self, stack: StackName, settings: dict[str, Any]) -> str:
        """What does the same as the form, in a terminal: what differs from the VO's own file, or all of it where that has more."""
        base = self.settings(stack.vo, stack.site)
        if isinstance(base, dict) and base.keys() <= settings.keys():
            given = {f"{self.setting}.{name}": value for name, value in settings.items() if base.get(name, _NOTHING) != value}
        else:
            given = {self.setting: settings}
        options = (word for path, value in given.items() for word in ("-c", f"{path}={json.dumps(value, ensure_ascii=False)}"))
        return shlex.join(["primage", "up", str(stack), *options])


_NOTHING = object()


@cache
def applications(repository: Path) -> tuple[Application, ...]:
    """All that have one setting, by name: the portal's copy of them does not change while it runs."""
    _, *apps = all_projects(repository)
    found = []
    for project in apps:
        models = load_models(project)
        if len(models) == 1:
            (setting, model), *_ = models.items()
            about = read_yaml(project.folder / "Pulumi.yaml")
            says = str(about.get("description", "")).removesuffix(", as a stack per VO and site")
            found.append(Application(project, says, setting, tuple(groups_of(model.model_json_schema(), _programs(model)))))
    return tuple(found)


def _programs(model: type[BaseModel]) -> frozenset[str]:
    return model.PROGRAMS if issubclass(model, Settings) else frozenset()


@cache
def _site(name: str) -> Any:
    project = load_project(repository_root())
    return stack_config(project, StackName(name)).get(f"{project.name}:site")
