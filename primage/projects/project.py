"""Stacks as a person names them, and the projects behind them.

`local` is the site program's stack for site `local`; `batch/vo.primage.eu.local` is app `batch` for VO `vo.primage.eu`
on site `local`; `batch/vo.primage.eu.local--trial` is one run among several of it. A member of the VO has stacks in a namespace
of their own: `batch/name-at-domain-dot-tld_vo.primage.eu.local`, which may also be written with the member's identity
(`batch/name@domain.tld_vo.primage.eu.local`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primage.contract.names import MAX_LABEL, namespace_for
from primage.errors import ExitCode, PrimageError
from primage.paths import repository_root
from primage.projects.loader import read_yaml

_SITE = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_VO = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_USER = re.compile(rf"(?=.{{1,{MAX_LABEL}}}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_RUN = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


@dataclass(frozen=True)
class StackName:
    """A stack's address: `site`, and for an app its name, VO, optional member (their namespace) and optional run."""

    site: str
    app: str = ""
    vo: str = ""
    run: str = ""
    user: str = ""

    @property
    def stack(self) -> str:
        """What Pulumi calls the stack inside its project."""
        if not self.app:
            return self.site
        return (f"{self.user}_" if self.user else "") + f"{self.vo}.{self.site}" + (f"--{self.run}" if self.run else "")

    @property
    def namespace(self) -> str:
        """Where an app's objects go."""
        return self.user or namespace_for(self.vo)

    @property
    def config_stack(self) -> str:
        """The stack whose configuration file serves this one: runs and members share that of the VO."""
        return self.site if not self.app else f"{self.vo}.{self.site}"

    def __str__(self) -> str:
        return f"{self.app}/{self.stack}" if self.app else self.site


def parse_stack_name(text: str) -> StackName:
    """Read `<site>`, or `<app>/<vo>.<site>` with `<member>_` before the VO and `--<run>` after the site where wanted.

    Raises:
        PrimageError: anything else, saying which part is wrong.
    """

    def refuse(why: str) -> PrimageError:
        return PrimageError(
            f"{text!r} is not a stack name: {why}",
            todo="write a site (local), an app's stack (batch/vo.primage.eu.local) or a run of it (…local--trial)",
            code=ExitCode.INVALID,
        )

    app, slash, rest = text.partition("/")
    if not slash:
        if not _SITE.fullmatch(text):
            raise refuse("a site is lower-case letters, digits and dashes")
        return StackName(site=text)
    user, underscore, place = rest.rpartition("_")
    user = namespace_for(user) if "@" in user else user
    if underscore and not _USER.fullmatch(user):
        raise refuse("before the underscore comes a member of the VO, as name@domain.tld or as their namespace")
    base, dashes, run = place.partition("--")
    vo, dot, site = base.rpartition(".")
    if not dot or not _SITE.fullmatch(site) or not _VO.fullmatch(vo):
        raise refuse("after the app comes <vo>.<site>")
    if dashes and not _RUN.fullmatch(run):
        raise refuse("a run is at most 20 lower-case letters, digits and dashes")
    return StackName(site=site, app=app, vo=vo, run=run, user=user)


@dataclass(frozen=True)
class Project:
    """A folder with a `Pulumi.yaml`.

    Attributes:
        folder: where `Pulumi.yaml` and the stacks' files are.
        name: the project's name, prefix of its configuration keys.
        program: the folder that has `__main__.py`.
    """

    folder: Path
    name: str
    program: Path

    def config_file(self, stack: str) -> Path:
        """`Pulumi.<stack>.yaml` in the project's folder."""
        return self.folder / f"Pulumi.{stack}.yaml"

    def stacks(self) -> list[str]:
        """Stacks that have a configuration file, sorted."""
        names = (path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in self.folder.glob("Pulumi.*.yaml"))
        return sorted(name for name in names if name)


def load_project(folder: Path) -> Project:
    """Read a project's `Pulumi.yaml`."""
    path = folder / "Pulumi.yaml"
    document = read_yaml(path)
    if not isinstance(document, dict) or "name" not in document:
        raise PrimageError("a Pulumi project needs a name", where=str(path), code=ExitCode.INVALID)
    return Project(folder=folder, name=str(document["name"]), program=folder / str(document.get("main", ".")))


def all_projects(repository: Path) -> list[Project]:
    """The site program first, then the apps by name."""
    apps = sorted(path.parent for path in (repository / "apps").glob("*/Pulumi.yaml"))
    return [load_project(folder) for folder in (repository, *apps)]


def project_of(name: StackName) -> Project:
    """The project a stack belongs to; where there is none, `PrimageError` names the apps that exist."""
    repository = repository_root()
    if not name.app:
        return load_project(repository)
    folder = repository / "apps" / name.app
    if not (folder / "Pulumi.yaml").is_file():
        known = ", ".join(sorted(path.parent.name for path in (repository / "apps").glob("*/Pulumi.yaml")))
        raise PrimageError(
            f"there is no app {name.app!r}",
            where=str(repository / "apps"),
            todo=f"use one of: {known}",
            code=ExitCode.INVALID,
        )
    return load_project(folder)


def stack_config(project: Project, name: StackName) -> dict[str, Any]:
    """The `config:` mapping of the stack's file.

    Raises:
        PrimageError: the file does not exist (the message names those that do), is not a YAML mapping, or has a `secure:` value,
            which only the Pulumi CLI can decrypt.
    """
    path = project.config_file(name.config_stack)
    if not path.is_file():
        known = ", ".join(project.stacks()) or "none yet"
        raise PrimageError(
            f"stack {name} has no configuration",
            where=str(path),
            todo=f"use one that has a file ({known}); make a site's with `primage site new`, and write an app's",
            code=ExitCode.INVALID,
        )
    document = read_yaml(path)
    config = document.get("config", {}) if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise PrimageError("a stack's file is a mapping with `config:`", where=str(path), code=ExitCode.INVALID)
    return config
