"""The clusters of stacks' sites, and the connections to them."""

from __future__ import annotations

import threading

from primage.clients.cluster import Cluster
from primage.engine.embedded.stores import file_store
from primage.errors import ExitCode, PrimageError
from primage.projects.connection import Connection, site_connection
from primage.projects.project import StackName


class Clusters:
    """Connections, kept for as long as this is."""

    def __init__(self) -> None:
        self._known: dict[Connection, Cluster] = {}
        self._guard = threading.Lock()

    def at(self, connection: Connection) -> Cluster:
        """The cluster at the other end of a connection."""
        with self._guard:
            if connection not in self._known:
                self._known[connection] = Cluster(connection.kubeconfig, connection.context)
            return self._known[connection]

    def of(self, name: StackName) -> Cluster:
        """The cluster of a stack's site, as the site's own settings have it."""
        return self.at(connection_of(name))


def connection_of(name: StackName, *, may_move: bool = False) -> Connection:
    """Where a stack's objects are, as its site's own settings say.

    Args:
        may_move: whether the operation brings the stack up: a site is where its settings say from then on.

    Raises:
        PrimageError: the site was last brought up somewhere else, so that what is looked for would not be found.
    """
    connection = site_connection(name.site)
    if may_move and not name.app:
        return connection
    outputs = file_store(StackName(name.site)).load().outputs.get("site")
    if isinstance(outputs, dict):
        recorded = Connection(str(outputs.get("kubeconfig", "")), str(outputs.get("context", "")))
        if recorded != connection:
            raise PrimageError(
                f"site {name.site} was last brought up through {recorded}, and is now to be reached through {connection}",
                where=f"Pulumi.{name.site}.yaml, or PRIMAGE_KUBECONFIG",
                todo=f"set PRIMAGE_KUBECONFIG as it was then, or run `primage up {name.site}` if the site has moved",
                code=ExitCode.INVALID,
            )
    return connection
