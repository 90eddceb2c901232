"""A standing site as its own settings describe it: what it offers, and the way to its cluster.

Programs choose their objects' names, so that nothing an engine keeps is needed to find them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

from primage.clients.cluster import Cluster
from primage.clients.members import member_of
from primage.contract.outputs import SiteOutputs
from primage.errors import ExitCode, PrimageError
from primage.projects.offer import site_outputs


@dataclass(frozen=True)
class Place:
    """Where a tenant's work is: a VO's own namespace, or a member's.

    Attributes:
        uid, gid: POSIX user and group that its pods run as.
    """

    namespace: str
    uid: int
    gid: int


@dataclass(frozen=True)
class SiteHandle:
    """A site to work with.

    Attributes:
        connection: to its API server, for who works with it as somebody else; None for what its settings say.
    """

    name: str
    outputs: SiteOutputs
    connection: Cluster | None = None

    @cached_property
    def cluster(self) -> Cluster:
        """Its API server; connected to when first asked for."""
        return self.connection or Cluster(self.outputs.kubeconfig, self.outputs.context)

    def place(self, vo: str, namespace: str = "") -> Place:
        """Where a VO's work is, or that of its member with this namespace.

        Raises:
            PrimageError: the site serves no such VO, or the VO has no such member.
        """
        where = f"Pulumi.{self.name}.yaml"
        if vo not in self.outputs.vos:
            known = ", ".join(self.outputs.vos)
            raise PrimageError(
                f"site {self.name} does not serve VO {vo}", where=where, todo=f"use a VO it serves: {known}", code=ExitCode.INVALID
            )
        served = self.outputs.vos[vo]
        if not namespace or namespace == served.namespace:
            return Place(served.namespace, served.uid, served.gid)
        found = member_of(self.outputs, served, namespace, lambda: self.cluster)
        if found is None:
            known = ", ".join(served.users) or "none"
            raise PrimageError(
                f"VO {vo} has no member {namespace} on site {self.name}",
                where=where,
                todo=f"use one it has: {known}",
                code=ExitCode.INVALID,
            )
        return Place(found.namespace, found.uid, served.gid)


def site_handle(name: str) -> SiteHandle:
    """The site called `name`, from its settings alone.

    Raises:
        PrimageError: there is no such site, or its settings are not valid.
    """
    return SiteHandle(name, site_outputs(name))


def usual_site() -> SiteHandle:
    """The site named by PRIMAGE_SITE, `local` unless it is set."""
    return site_handle(os.environ.get("PRIMAGE_SITE", "local"))
