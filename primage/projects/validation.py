"""Checking stack files offline: schema, unknown keys, placeholders, references; every problem in one pass.

A project says what its settings look like in `config.py` (`MODELS`: setting name to pydantic model); it is loaded by
path, so that this package imports no program.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from primage.contract.names import HPC_APP, SITE_PROJECT, namespace_for
from primage.errors import PrimageError
from primage.projects.loader import read_yaml
from primage.projects.project import Project, StackName, all_projects, parse_stack_name


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: in which file, at which field, what, as a sentence."""

    file: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.field}: {self.message}" if self.field else f"{self.file}: {self.message}"

    def as_dict(self) -> dict[str, str]:
        """For `--json`."""
        return asdict(self)


def validate_repository(repository: Path, sites: Iterable[str] = ()) -> tuple[list[str], list[Problem]]:
    """Check every stack file of the given sites, or of all.

    Returns:
        names of the stacks that were checked, and the problems, file by file.
    """
    wanted = set(sites)
    projects = all_projects(repository)
    known_sites = set(projects[0].stacks())
    checked: list[str] = []
    there_are = f"no such site; there are {', '.join(sorted(known_sites)) or 'none'}"
    problems = [Problem(f"Pulumi.{site}.yaml", "", there_are) for site in sorted(wanted - known_sites)]
    site_settings: dict[str, Any] = {}
    for project in projects:
        for stack in project.stacks():
            path = project.config_file(stack)
            site = stack if project.name == SITE_PROJECT else stack.rpartition(".")[2]
            if wanted and site not in wanted:
                continue
            checked.append(stack if project.name == SITE_PROJECT else f"{project.folder.name}/{stack}")
            config, found = _read(path, repository)
            found += list(_check(project, config, str(path.relative_to(repository)))) if config is not None else []
            if project.name == SITE_PROJECT:
                site_settings[stack] = (config or {}).get(f"{SITE_PROJECT}:site", {})
            else:
                found += list(_references(project, stack, str(path.relative_to(repository)), known_sites, site_settings, config))
            problems += found
    return checked, problems


def _read(path: Path, repository: Path) -> tuple[dict[str, Any] | None, list[Problem]]:
    where = str(path.relative_to(repository))
    try:
        document = read_yaml(path)
    except PrimageError as error:
        return None, [Problem(where, "", error.what)]
    if not isinstance(document, dict):
        return None, [Problem(where, "", "must be a mapping with `config:`")]
    known = {"config", "secretsprovider", "encryptionsalt", "encryptedkey", "environment"}
    found = [Problem(where, str(key), "is not a key of a stack file") for key in document if key not in known]
    config = document.get("config")
    if not isinstance(config, dict):
        return None, [*found, Problem(where, "config", "must be a mapping from <project>:<setting> to values")]
    return config, found


def _check(project: Project, config: dict[str, Any], where: str) -> Iterator[Problem]:
    for field, message in setting_problems(project, config):
        yield Problem(where, field, message)


def setting_problems(project: Project, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong in a stack's `config:`, according to the project's own models: field and message."""
    if not (project.program / "config.py").is_file():
        return
    models = load_models(project)
    for key in config:
        prefix, _, setting = str(key).partition(":")
        if prefix == project.name and setting not in models:
            yield str(key), f"unknown setting; the project has {', '.join(models)}"
        elif prefix != project.name and prefix not in {"kubernetes", "pulumi", "azure-native"}:
            yield str(key), f"belongs to no provider used here, nor to project {project.name}"
    for setting, model in models.items():
        key = f"{project.name}:{setting}"
        if key not in config:
            yield key, "is missing"
            continue
        try:
            model.model_validate(config[key])
        except ValidationError as error:
            yield from _details(error, key, config[key])


def _references(
    project: Project, stack: str, where: str, sites: set[str], settings: dict[str, Any], config: dict[str, Any] | None
) -> Iterator[Problem]:
    try:
        name = parse_stack_name(f"{project.folder.name}/{stack}")
    except PrimageError as error:
        yield Problem(where, "", error.what)
        return
    if name.site not in sites:
        yield Problem(where, "", f"is for site {name.site}, which has no Pulumi.{name.site}.yaml")
        return
    site = settings.get(name.site) or {}
    served = [vo.get("name") for vo in site.get("vos", []) if isinstance(vo, dict)] if isinstance(site, dict) else []
    if name.vo not in served:
        yield Problem(where, "", f"is for VO {name.vo}, which Pulumi.{name.site}.yaml does not list under vos")
    elif name.user and name.user not in _members(site, name.vo):
        yield Problem(
            where, "", f"is for member {name.user}, whom Pulumi.{name.site}.yaml does not list under VO {name.vo}'s users"
        )
    for field, message in reference_problems(name, config or {}, site):
        yield Problem(where, field, message)


def reference_problems(stack: StackName, config: Mapping[str, Any], site: Any) -> Iterator[tuple[str, str]]:
    """Which names in an app's `config:` its site (the value of `primage:site`) does not have: field and message."""
    if not isinstance(site, dict):
        return
    hpc = site.get("hpc")
    backends = _mappings(hpc.get("backends")) if isinstance(hpc, dict) else []
    mine = sorted(str(item.get("name")) for item in backends if isinstance(item.get("vos"), list) and stack.vo in item["vos"])
    classes = sorted(str(item.get("name")) for item in _mappings(site.get("priority_classes")))
    offers = {"priority": ("a priority class", classes)}
    if stack.app == HPC_APP:  # `host` of another app is something else
        offers["host"] = (f"an HPC backend of VO {stack.vo}", mine)
    for key, settings in config.items():
        for field, (kind, known) in offers.items() if isinstance(settings, dict) else ():
            if (given := settings.get(field)) and given not in known:
                yield f"{key}.{field}", f"{given} is not {kind} on site {stack.site}; it has {', '.join(known) or 'none'}"


def _mappings(found: Any) -> list[dict[str, Any]]:
    """The entries of a list in a site's file that can be read as such."""
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _members(site: dict[str, Any], vo: str) -> list[str]:
    """Namespaces of a VO's members, as far as the site's file can be read."""
    users = [user for v in site["vos"] if isinstance(v, dict) and v.get("name") == vo for user in v.get("users") or []]
    return [namespace_for(str(user["name"])) for user in users if isinstance(user, dict) and user.get("name")]


def load_models(project: Project) -> dict[str, type[BaseModel]]:
    """`MODELS` of a project's `config.py`."""
    models: dict[str, type[BaseModel]] = load_module(project, "config").MODELS
    return models


def load_module(project: Project, name: str) -> ModuleType:
    """A module of a project's program, loaded by path: this package imports no program."""
    path = project.program / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"primage_{name}_{project.name.replace('-', '_')}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PrimageError(f"project {project.name} has no {name}.py", where=str(path))
    module: ModuleType = importlib.util.module_from_spec(spec)
    # pydantic looks a model's annotations up in its module, by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_WORDS = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "string_type": "must be text; put it in quotes",
    "tuple_type": "must be a list, such as [one, two]",
    "dict_type": "must be a mapping, such as {{NAME: value}}",
    "model_type": "must be a mapping from settings to values",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "list_type": "must be a list, such as [one, two]",
    "union_tag_invalid": "must be one of {expected_tags}",
}
"""Pydantic's kinds of complaint in the words of the files they are about, with the bounds that it names."""


def _details(error: ValidationError, root: str, whole: Any) -> Iterator[tuple[str, str]]:
    items = error.errors(include_url=False)
    places = [item["loc"] for item in items]
    for item in items:
        depth = len(item["loc"])
        # A list whose only entry is wrong is also "too short" to pydantic; the entry's own problem says it all.
        if item["type"] == "too_short" and any(len(place) > depth and place[:depth] == item["loc"] for place in places):
            continue
        message = _WORDS.get(item["type"], "").format_map(item.get("ctx", {})) or item["msg"].removeprefix("Value error, ")
        given = item.get("input")
        if given is None and item["type"].endswith("_type") and message.startswith("must"):
            message = f"is empty: it {message.partition(';')[0]}"
        if isinstance(given, str | int | float | bool) and item["type"] not in {"missing", "value_error", "extra_forbidden"}:
            message += f" (given: {given!r})"
        place = root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in _place(item, whole))
        yield from _lines(place, message) if item["type"] == "value_error" else [(place, message)]


def _lines(place: str, message: str) -> Iterator[tuple[str, str]]:
    """A model's own complaints: a line each, and before the colon the field below the model that it is about."""
    for line in message.splitlines():
        below, _, rest = line.partition(": ")
        named = rest and re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", below)
        yield (place if place.endswith(f".{below}") else f"{place}.{below}", rest) if named else (place, line)


def _place(item: ErrorDetails, given: Any) -> list[int | str]:
    """Where in the file a complaint is about.

    Pydantic counts the kind of a thing that may be of several kinds as a step on the way, which no file has.
    """
    place: list[int | str] = []
    at, steps = given, item["loc"]
    for number, step in enumerate(steps, start=1):
        missing = item["type"] == "missing" and number == len(steps)
        if isinstance(at, dict) and step not in at and not missing:
            continue
        place.append(step)
        try:
            at = at[step]
        except (TypeError, LookupError):
            at = None
    if item["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        place.append(str(item["ctx"]["discriminator"]).strip("'"))
    return place


def sentences(error: ValidationError, root: str, given: Any = None) -> list[str]:
    """A model's complaints about what it was given, each as `path: what is wrong`."""
    return [f"{field}: {message}" for field, message in _details(error, root, given)]
