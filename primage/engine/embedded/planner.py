"""What an `up` would do: each object sent to the cluster as a dry run, and what it would become compared with what is there."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from primage.clients.cluster import Cluster, Object, Refused, is_leaving
from primage.engine import protection
from primage.engine.api import Action, Change
from primage.engine.embedded import dynamic
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.declaration import Declaration, DeclaredDynamic, DeclaredObject, properties_of
from primage.engine.embedded.monitor import Registered
from primage.engine.embedded.objects import declared_differences, differences
from primage.engine.embedded.removal import Remover
from primage.engine.embedded.state import Dynamic, StackState, Status
from primage.engine.ownership import Owner, whose
from primage.errors import PrimageError
from primage.kubernetes.amounts import makes_pods, require_possible
from primage.kubernetes.readiness import State, verdict


@dataclass
class Planner:
    """Implements `intake.Worker`: asks, and changes nothing.

    Attributes:
        owner: whose the objects are.
        state: what the stack owns; only read.
        changes: by URN, in the order they were planned.
    """

    owner: Owner
    state: StackState
    clusters: Clusters

    changes: dict[str, Change] = field(default_factory=dict)
    _declared: dict[str, Declaration] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def take_object(self, declared: DeclaredObject) -> Registered:
        """Plan an object."""
        self._note(declared, self.plan_object(declared))
        return properties_of(declared.obj, preview=True)

    def take_dynamic(self, declared: DeclaredDynamic) -> Registered:
        """Plan a dynamic resource."""
        change = self.plan_dynamic(declared)
        self._note(declared, change)
        kept = self.made(declared) if change.action is Action.SAME else None
        return declared.registered(kept.id, kept.outputs) if kept else declared.registered()

    def settled(self, declared: DeclaredObject) -> Change:
        """The change that was planned; where it depended on values that were not known then, what it is now."""
        planned = self._declared.get(declared.urn)
        return self.plan_object(declared) if planned is None or planned.has_unknowns else self.changes[declared.urn]

    def changes_anything(self) -> bool:
        """Whether an `up` has anything to do about what the program declares."""
        return any(self._pending(urn) for urn in self.changes)

    def protects(self, urn: str) -> bool:
        """Whether the program, or the last `up`, protects a resource."""
        entry, declared = self.state.resources.get(urn), self._declared.get(urn)
        return bool(entry and entry.protect) or bool(declared and declared.guards[0])

    def _pending(self, urn: str) -> bool:
        entry = self.state.resources.get(urn)
        if self.changes[urn].action is not Action.SAME or entry is None or entry.status is not Status.READY:
            return True
        return (entry.protect, entry.retain) != self._declared[urn].guards

    def _note(self, declared: Declaration, change: Change) -> None:
        with self._guard:
            self._declared[declared.urn] = declared
            self.changes[declared.urn] = change

    # -- objects ---------------------------------------------------------------------------------------------------

    def plan_object(self, declared: DeclaredObject) -> Change:
        """What would happen to an object.

        Raises:
            PrimageError: there is one of that name, and it is another's; or it is a Job whose pods could never be made.
            Refused: the API server would not have it.
        """
        cluster = self.clusters.at(declared.connection)
        urn, label = declared.urn, declared.label
        live = cluster.get(declared.ref)
        if live is None and self._has_ended(declared):
            return Change(urn, label, Action.SAME, reason="it finished and was cleaned up")
        if live is not None and not self.owner.owns(live):
            raise PrimageError(
                f"{label} exists already and is not this stack's ({whose(live)})",
                todo="give the resource another name in this stack's settings, or take it out of them; the "
                "existing one is left as it is",
            )
        if live is not None and is_leaving(live):
            return Change(urn, label, Action.CREATE, reason="the one that is there is being deleted")
        if declared.has_unknowns:
            action = Action.CREATE if live is None else Action.UPDATE
            return Change(urn, label, action, reason="depends on values known only when it is made")
        if live is None:
            self._try_to_create(declared, cluster)
            return Change(urn, label, Action.CREATE)
        if declared.obj["kind"] == "Job" and verdict(live).state is State.FAILED:
            why = "it has ended" if declared.serves else "it failed the last time"
            self._try_to_replace(declared, cluster)
            return Change(urn, label, Action.REPLACE, reason=why)
        return self._compare(declared, live, cluster)

    def _has_ended(self, declared: DeclaredObject) -> bool:
        """Whether it is a job that the last `up` saw to its end, and the same."""
        entry = self.state.resources.get(declared.urn)
        return bool(entry and entry.status is Status.READY and entry.digest and entry.digest == declared.digest)

    def _try_to_create(self, declared: DeclaredObject, cluster: Cluster) -> None:
        try:
            cluster.apply(declared.obj, manager=self.owner.manager, dry_run=True)
        except Refused as refusal:
            # Its namespace or its kind may come from the same stack; what is wrong shows when it is really made.
            if refusal.status != 404:
                raise
            return
        self._require_possible(declared, cluster)

    def _try_to_replace(self, declared: DeclaredObject, cluster: Cluster) -> None:
        """See, before a Job is deleted, that the API server would have the one in its place; asked for under another name."""
        if declared.obj["kind"] != "Job":
            return
        meta = declared.obj["metadata"]
        name = f"{meta['name'][:50]}-planned"
        try:
            cluster.apply({**declared.obj, "metadata": {**meta, "name": name}}, manager=self.owner.manager, dry_run=True)
        except Refused as refusal:
            # The one that goes makes room in the quota.
            if refusal.status != 404 and "exceeded quota" not in refusal.message:
                raise Refused(refusal.status, refusal.reason, refusal.message.replace(name, meta["name"])) from refusal
        self._require_possible(declared, cluster)

    def _require_possible(self, declared: DeclaredObject, cluster: Cluster) -> None:
        if makes_pods(declared.obj):
            require_possible(cluster, declared.obj, manager=self.owner.manager)

    def _compare(self, declared: DeclaredObject, live: Object, cluster: Cluster) -> Change:
        wanted = declared.with_ignored(live)
        try:
            after = cluster.apply(wanted, manager=self.owner.manager, dry_run=True, force=declared.forced)
        except Refused as refusal:
            # Kubernetes has no other sign than this word for a field that must not change.
            if refusal.status != 422 or "immutable" not in refusal.message:
                raise
            self._try_to_replace(declared, cluster)
            fields = declared_differences(live, declared.obj, self.owner.manager, declared.hidden)
            return Change(declared.urn, declared.label, Action.REPLACE, fields, "it has immutable fields that change")
        fields = differences(live, after, declared.hidden)
        return Change(declared.urn, declared.label, Action.UPDATE if fields else Action.SAME, fields)

    # -- dynamic resources -----------------------------------------------------------------------------------------

    def made(self, declared: DeclaredDynamic) -> Dynamic | None:
        """What the last `up` made of a dynamic resource, if it got to its end."""
        entry = self.state.resources.get(declared.urn)
        return entry.dynamic if entry and entry.status is Status.READY else None

    def plan_dynamic(self, declared: DeclaredDynamic) -> Change:
        """What would happen to a dynamic resource.

        Raises:
            PrimageError: its provider refuses it.
        """
        old, inputs = self.made(declared), declared.inputs
        if declared.has_unknowns:
            return Change(declared.urn, declared.label, Action.UPDATE if old else Action.CREATE)
        before = dynamic.known(old, inputs) if old else {}
        if refused := dynamic.check(declared.provider, before, inputs):
            raise PrimageError(f"{declared.name} is refused by its provider: {'; '.join(refused)}")
        action = dynamic.needs(declared.provider, old.id, before, inputs) if old else Action.CREATE
        return Change(declared.urn, declared.label, action)


def leaving(state: StackState, coming: Mapping[str, Change]) -> list[Change]:
    """What the state has and nobody declares, in dependency order."""
    gone = sorted((entry for urn, entry in state.resources.items() if urn not in coming), key=lambda entry: entry.order)
    return [Change(e.urn, e.label, Action.KEEP if e.retain else Action.DELETE) for e in gone]


def judged(planner: Planner, remover: Remover, kinds: frozenset[str]) -> list[Change]:
    """Every change of an operation, of what leaves the stack too, with what is refused said of each.

    Args:
        planner: of an `up`; of a `destroy`, one that has planned nothing.
        kinds: what the stack's settings protect.
    """
    found = []
    for change in [*planner.changes.values(), *leaving(planner.state, planner.changes)]:
        marked = protection.marked(change, kinds=kinds, protected=planner.protects(change.urn))
        entry = planner.state.resources.get(change.urn)
        if not marked.refused and entry and change.action is Action.DELETE and (why := remover.objection(entry)):
            marked = replace(marked, refused=why)
        found.append(marked)
    return found
