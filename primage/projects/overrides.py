"""A stack's settings with changes from the command line on top."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from primage.errors import ExitCode, PrimageError
from primage.paths import repository_root
from primage.projects.loader import load_yaml
from primage.projects.project import Project, StackName, load_project, stack_config


def effective_config(project: Project, name: StackName, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The `config:` of the stack's file, full keys, with `overrides` (dotted paths below the project's own keys) on top.

    Raises:
        PrimageError: an override names no setting's parent, or the file holds a value only the Pulumi CLI can decrypt.
    """
    path = project.config_file(name.config_stack)
    # A run may bring all its settings itself; its base need not have a file then.
    written = {} if name.run and overrides and not path.exists() else stack_config(project, name)
    config = copy.deepcopy(written)
    for key, value in config.items():
        if _is_cipher(value):
            raise PrimageError(
                f"{key} is encrypted, and only the Pulumi CLI can decrypt it",
                where=str(path),
                todo="use --engine pulumi, or have the program read a Kubernetes Secret instead",
                code=ExitCode.UNSUPPORTED,
            )
    for dotted, value in overrides.items():
        first, *rest = dotted.split(".")
        key = f"{project.name}:{first}"
        if not rest:
            config[key] = value
            continue
        target = config.setdefault(key, {})
        for part in rest[:-1]:
            target = target.setdefault(part, {}) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise PrimageError(f"--config {dotted}: {first} has no settings below it", where=str(path), code=ExitCode.INVALID)
        target[rest[-1]] = value
    _require_valid(project, name, written, config, overrides)
    return config


def holds_ciphers(config: Any) -> bool:
    """Whether a `config:` has values that only the Pulumi CLI can decrypt."""
    return isinstance(config, dict) and any(_is_cipher(value) for value in config.values())


def _is_cipher(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


def _require_valid(
    project: Project, name: StackName, written: Mapping[str, Any], config: Mapping[str, Any], overrides: Mapping[str, Any]
) -> None:
    """Refuse what `primage validate` refuses, before a program runs; say whether the file is wrong, or the command line.

    Args:
        written: the file's settings alone: what is wrong in them as well is the file's, unless the command line gives that field.
    """
    # With pydantic, which `primage --help` does without.
    from primage.projects.validation import reference_problems, setting_problems

    def problems_of(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [*setting_problems(project, settings), *reference_problems(name, settings, _site_of(name))]

    problems = problems_of(config)
    if not problems:
        return
    given = {f"{project.name}:{dotted}": value for dotted, value in overrides.items()}
    wrong = [f"{field}: {message}{_quoted(field, message, given)}" for field, message in problems]
    files = problems_of(written) if overrides else problems
    here = [problem for problem in problems if problem not in files or _is_below(problem[0], given)]
    file = str(project.config_file(name.config_stack))
    raise PrimageError(
        f"the settings of stack {name} are not valid:\n  " + "\n  ".join(wrong) + "\n",
        where="the command line (--config)" if len(here) == len(problems) else f"{file} and --config" if here else file,
        todo="correct these fields",
        code=ExitCode.INVALID,
    )


def _is_below(field: str, given: Iterable[str]) -> bool:
    """Whether a field is one of those given on the command line, or in one."""
    return any(field == path or field.startswith((f"{path}.", f"{path}[")) for path in given)


def _quoted(field: str, message: str, given: Mapping[str, Any]) -> str:
    """How a text that YAML takes for something else is given on the command line: a shell takes one pair of quotes away."""
    if field not in given or not message.startswith("must be text"):
        return ""
    text = given[field] if type(given[field]) is int else "…"
    return f"; write -c '{field.partition(':')[2]}=\"{text}\"'"


def _site_of(app: StackName) -> Any:
    """An app's site as its file describes it; None for a site's own stack, and where no such file is on this machine."""
    if not app.app:
        return None
    project = load_project(repository_root())
    if not project.config_file(app.site).is_file():
        return None
    return stack_config(project, StackName(app.site)).get(f"{project.name}:site")


def parse_override(text: str) -> tuple[str, Any]:
    """Read `job.args=[a, b]`: a dotted path, and a value in YAML."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise PrimageError(f"--config {text!r} is not PATH=VALUE", todo="write e.g. --config job.cpu=2", code=ExitCode.USAGE)
    try:
        return path, load_yaml(value)
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise PrimageError(f"--config {path}: the value is not valid YAML: {why}", code=ExitCode.USAGE) from error
