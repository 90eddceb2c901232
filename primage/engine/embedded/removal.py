"""Deleting what a state lists: only what is the stack's own, on the cluster that the site's settings name."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from primage.clients.cluster import Cluster, Object, Ref, Refused
from primage.engine.api import Event, Listener
from primage.engine.embedded import dynamic
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.ledger import Ledger
from primage.engine.embedded.state import Dynamic, Entry, checked_ref
from primage.engine.ownership import Owner, Scope, whose
from primage.errors import PrimageError
from primage.kubernetes.waiting import wait_gone
from primage.projects.connection import Connection

SIDE_BY_SIDE = 16
"""Things removed at a time: each is waited for."""


@dataclass(frozen=True)
class Remover:
    """Removes a stack's things, after a look at each.

    Attributes:
        owner: what the stack's objects say of themselves.
        scope: where they can be.
        connection, clusters: the site's cluster, reached when there is something to look at.
    """

    owner: Owner
    scope: Scope
    connection: Connection
    clusters: Clusters
    listener: Listener
    timeout_s: float

    def remove_all(self, entries: Iterable[Entry], ledger: Ledger) -> None:
        """Remove level by level, the last ones first; what shares a level goes at once. What is retained is only forgotten."""
        left = list(entries)

        def remove(entry: Entry) -> None:
            if not entry.retain:
                ledger.note_deleting(entry)
                self.remove(entry)
            ledger.forget(entry)

        for level in sorted({entry.level for entry in left}, reverse=True):
            with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
                list(pool.map(remove, [entry for entry in left if entry.level == level]))

    def objection(self, entry: Entry) -> str:
        """Why the thing is not removed, as what is said of it; empty when it is the stack's, or gone."""
        why, _, _ = self._look(entry)
        return why

    def remove(self, entry: Entry) -> None:
        """Remove it and wait until it is gone; quiet when it is gone already.

        Raises:
            PrimageError: it is not the stack's, or is not let go.
        """
        why, ref, live = self._look(entry)
        if why:
            raise PrimageError(f"{entry.label} {why}", todo="find out who wrote that into the stack's state; nothing was deleted")
        if entry.dynamic is not None:
            self._by_provider(entry, entry.dynamic)
        elif ref and live:
            self._delete(ref, str(live["metadata"]["uid"]))

    def _look(self, entry: Entry) -> tuple[str, Ref | None, Object | None]:
        """What is against removing it, its address, and how it is now."""
        try:
            ref = entry.ref or self._address(entry)
        except (KeyError, TypeError, ValueError):
            return "does not say which object it stands for", None, None
        if ref is None:
            nowhere = self.scope.namespace and entry.dynamic is not None and entry.dynamic.id
            return ("stands for nothing on the cluster that could be looked at" if nowhere else ""), None, None
        if why := self.scope.objection(ref):
            return why, ref, None
        try:
            live = self._cluster().get(ref)
        except Refused as refusal:
            return f"cannot be looked at ({refusal.message})", ref, None
        if live is None or self.owner.owns(live):
            return "", ref, live
        return f"is listed in the stack's state and is not the stack's ({whose(live)}): it is left alone", ref, live

    def _cluster(self) -> Cluster:
        return self.clusters.at(self.connection)

    def _address(self, entry: Entry) -> Ref | None:
        """The object that a dynamic resource stands for; None when it was never made."""
        kept = entry.dynamic
        if kept is None or not kept.id:
            return None
        found = dynamic.find_provider(entry.type, entry.name).address(self._properties(kept))
        return checked_ref(vars(found)) if found else None

    def _properties(self, kept: Dynamic) -> dict[str, Any]:
        return {**kept.inputs, **kept.outputs, **self.connection.as_inputs()}

    def _by_provider(self, entry: Entry, kept: Dynamic) -> None:
        if not kept.id:
            return
        try:
            dynamic.find_provider(entry.type, entry.name).delete(kept.id, self._properties(kept))
        except PrimageError:
            raise
        except Exception as error:
            raise PrimageError(f"{entry.name} was not removed by its provider: {type(error).__name__}: {error}") from error

    def _delete(self, ref: Ref, uid: str) -> None:
        cluster = self._cluster()
        self.listener(Event(str(ref), "deleting"))
        try:
            cluster.delete(ref, uid=uid)
        except Refused as refusal:
            raise PrimageError(
                f"{ref} was not deleted: {refusal.message}", todo="fix what it names, then run the same command again"
            ) from refusal
        wait_gone(cluster, ref, timeout_s=self.timeout_s, report=lambda detail: self.listener(Event(str(ref), "deleting", detail)))
        self.listener(Event(str(ref), "deleted"))
