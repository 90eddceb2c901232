"""How a site's API server is reached: by the operator's own settings, never by anything a cluster or a state says."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pydantic import ValidationError

from primage.clients.cluster import kubeconfig_path
from primage.contract.names import SITE_PROJECT
from primage.contract.outputs import ClusterConfig
from primage.errors import ExitCode, PrimageError
from primage.projects.logins import login_files
from primage.projects.project import StackName, project_of, stack_config

SETTINGS = f"{SITE_PROJECT}:site"


@dataclass(frozen=True)
class Connection:
    """A kubeconfig file and a context in it; empty for the usual places and the current one."""

    kubeconfig: str
    context: str

    def __str__(self) -> str:
        file = self.kubeconfig or "the usual kubeconfig"
        return f"{file} (context {self.context})" if self.context else file

    def as_inputs(self) -> dict[str, str]:
        """What a dynamic provider is given to reach the cluster."""
        return {"kubeconfig": self.kubeconfig, "context": self.context}


def connection_of(settings: ClusterConfig, site: str = "") -> Connection:
    """The connection a site's settings name.

    PRIMAGE_KUBECONFIG stands in for the settings' kubeconfig: `make site KUBECONFIG=…` runs a site on a cluster of yours. Who does
    not have the operators' kubeconfig, and has logged in (`primage login`), is who they logged in as.

    Args:
        site: whose login may be used; empty for nobody's.
    """
    if given := os.environ.get("PRIMAGE_KUBECONFIG"):
        return Connection(given, settings.context)
    named = kubeconfig_path(settings.kubeconfig)
    if site and named and not os.access(named, os.R_OK) and (own := login_files(site).kubeconfig).exists():
        return Connection(str(own), "")
    return Connection(named, settings.context)


def site_connection(site: str) -> Connection:
    """The connection of `Pulumi.<site>.yaml`.

    Raises:
        PrimageError: the file does not exist, or `cluster` in it is not valid.
    """
    name = StackName(site)
    project = project_of(name)
    settings = stack_config(project, name).get(SETTINGS)
    given = settings.get("cluster", {}) if isinstance(settings, dict) else {}
    try:
        return connection_of(ClusterConfig.model_validate(given), site)
    except ValidationError as error:
        first = error.errors()[0]
        raise PrimageError(
            f"the site's settings do not say how its cluster is reached: {first['msg']}",
            where=f"{project.config_file(site)}, {SETTINGS}.cluster",
            todo="give it `kubeconfig` and, where that has several, `context`",
            code=ExitCode.INVALID,
        ) from error
