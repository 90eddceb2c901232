"""What a site offers, worked out from its settings: programs choose their objects' names, so nothing need be up to know them."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from primage.contract.outputs import SiteOutputs
from primage.errors import ExitCode, PrimageError
from primage.paths import repository_root
from primage.projects.connection import connection_of
from primage.projects.project import Project, StackName, load_project, stack_config
from primage.projects.validation import load_models, load_module, sentences


def site_settings(name: str) -> Any:
    """The settings of the site called `name`, as the site's program has them (`infra.config.SiteConfig`).

    Raises:
        PrimageError: there is no such site, or its settings are not valid.
    """
    return _read(load_project(repository_root()), name)


def _read(project: Project, name: str) -> Any:
    raw = stack_config(project, StackName(site=name)).get(f"{project.name}:site")
    try:
        return load_models(project)["site"].model_validate(raw)
    except ValidationError as error:
        problems = "\n  ".join(sentences(error, f"{project.name}:site", raw))
        raise PrimageError(
            f"the settings of site {name} are not valid:\n  {problems}\n",
            where=str(project.config_file(name)),
            todo=f"run `primage validate {name}` and correct these fields",
            code=ExitCode.INVALID,
        ) from error


def site_outputs(name: str) -> SiteOutputs:
    """What the site program outputs for the site called `name`; raises as `site_settings` does."""
    project = load_project(repository_root())
    settings = _read(project, name)
    outputs: SiteOutputs = load_module(project, "outputs").site_outputs(name, settings, connection_of(settings.cluster, name))
    return outputs
