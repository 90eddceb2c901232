"""Applying what a program declares: what differs is sent, waited for, and written down before and after."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from primage.clients.cluster import Cluster, Object, Refused, is_leaving
from primage.engine.api import Action, Change, Event, Options
from primage.engine.embedded import dynamic
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.declaration import DeclaredDynamic, DeclaredObject, properties_of
from primage.engine.embedded.failures import Failures
from primage.engine.embedded.ledger import Ledger
from primage.engine.embedded.monitor import Registered
from primage.engine.embedded.planner import Planner
from primage.engine.embedded.removal import Remover
from primage.engine.embedded.state import Dynamic, Status
from primage.errors import PrimageError
from primage.kubernetes.annotations import SKIP_AWAIT, TIMEOUT, annotation
from primage.kubernetes.waiting import wait_gone, wait_ready


@dataclass
class Applier:
    """Implements `intake.Worker`: does what the planner planned.

    Attributes:
        ledger: the state, which is written.
        remover: how what a provider replaces is removed.
        protected_kinds: what is never replaced.
        failures: of the run; what is waited for is given up a little sooner after one.
        changes: by URN, in the order they were begun.
        timings: per label, epoch seconds of `submitted` and `ready`.
    """

    planner: Planner
    ledger: Ledger
    remover: Remover
    clusters: Clusters
    protected_kinds: frozenset[str]
    options: Options
    failures: Failures

    changes: dict[str, Change] = field(default_factory=dict)
    timings: dict[str, dict[str, float]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    # -- objects ---------------------------------------------------------------------------------------------------

    def take_object(self, declared: DeclaredObject) -> Registered:
        """Create, update or replace an object, or leave it as it is."""
        change = self.planner.settled(declared)
        self._note(change)
        entry = self.ledger.entry(declared.urn)
        if change.action is Action.SAME and entry and entry.status is Status.READY:
            self.ledger.note_same(declared)
            return properties_of(self.clusters.at(declared.connection).get(declared.ref) or declared.obj)
        if change.action is Action.REPLACE and (
            self.planner.protects(declared.urn) or declared.registration.protect or declared.ref.kind in self.protected_kinds
        ):
            raise _protected(declared.label)
        self.ledger.note_object(declared, Status.APPLYING)
        try:
            made, timing = self._make(declared, change.action)
        except (PrimageError, Refused):
            self.ledger.note_object(declared, Status.FAILED)
            self._say(declared, "failed")
            raise
        with self._guard:
            self.timings[declared.label] = timing
        self.ledger.note_object(declared, Status.READY)
        self._say(declared, "ready")
        return properties_of(made)

    def _make(self, declared: DeclaredObject, action: Action) -> tuple[Object, dict[str, float]]:
        """The object when it is ready, and when it was submitted and ready."""
        cluster = self.clusters.at(declared.connection)
        if action is Action.REPLACE:
            cluster.delete(declared.ref)
            self._wait_gone(declared, cluster)
        elif action is Action.CREATE and (live := cluster.get(declared.ref)) and is_leaving(live):
            self._wait_gone(declared, cluster)
        timing = {"submitted": time.time()}
        self._say(declared, "creating" if action is Action.CREATE else "updating")
        made = self._send(declared, cluster)
        if annotation(declared.obj, SKIP_AWAIT) != "true":
            made = self._wait(made, declared, cluster)
        return made, {**timing, "ready": time.time()}

    def _wait_gone(self, declared: DeclaredObject, cluster: Cluster) -> None:
        self._say(declared, "deleting")
        wait_gone(
            cluster,
            declared.ref,
            timeout_s=self.options.timeout_s,
            report=lambda detail: self._say(declared, "deleting", detail),
        )

    def _send(self, declared: DeclaredObject, cluster: Cluster) -> Object:
        live = cluster.get(declared.ref) if declared.registration.ignore_changes else None
        wanted = declared.with_ignored(live) if live else declared.obj
        return cluster.apply(wanted, manager=self.planner.owner.manager, force=declared.forced)

    def _wait(self, made: Object, declared: DeclaredObject, cluster: Cluster) -> Object:
        return wait_ready(
            cluster,
            made,
            timeout_s=float(annotation(declared.obj, TIMEOUT) or declared.registration.timeout_s or self.options.timeout_s),
            report=lambda detail: self._say(declared, "waiting", detail),
            failing=lambda: bool(self.failures),
        )

    # -- dynamic resources -----------------------------------------------------------------------------------------

    def take_dynamic(self, declared: DeclaredDynamic) -> Registered:
        """Have the provider create, update or replace a dynamic resource, or leave it as it is."""
        change = self.planner.plan_dynamic(declared)
        self._note(change)
        entry = self.ledger.entry(declared.urn)
        old = (entry.dynamic if entry else None) or Dynamic()
        if declared.has_unknowns:
            return declared.registered()
        if change.action is Action.SAME:
            self.ledger.note_dynamic(declared, old.id, old.outputs, Status.READY)
            return declared.registered(old.id, old.outputs)
        if change.action is Action.REPLACE and entry:
            if self.planner.protects(declared.urn) or declared.registration.protect:
                raise _protected(declared.name)
            self.remover.remove(entry)
        kept = old if change.action is Action.UPDATE else Dynamic()
        self.ledger.note_dynamic(declared, kept.id, kept.outputs, Status.APPLYING)
        try:
            made = self._by_provider(declared, change.action, old)
        except PrimageError:
            self.ledger.note_dynamic(declared, kept.id, kept.outputs, Status.FAILED)
            raise
        self.ledger.note_dynamic(declared, made.id, made.outputs, Status.READY)
        return declared.registered(made.id, made.outputs)

    @staticmethod
    def _by_provider(declared: DeclaredDynamic, action: Action, old: Dynamic) -> dynamic.Outcome:
        inputs = declared.inputs
        try:
            if action is Action.UPDATE:
                return dynamic.update(declared.provider, old.id, {**dynamic.known(old, inputs), **old.outputs}, inputs)
            return dynamic.create(declared.provider, inputs)
        except PrimageError:
            raise
        except Exception as error:
            raise PrimageError(f"{declared.name} failed in its provider: {type(error).__name__}: {error}") from error

    # -- notes -----------------------------------------------------------------------------------------------------

    def _note(self, change: Change) -> None:
        with self._guard:
            self.changes[change.urn] = change

    def _say(self, declared: DeclaredObject, state: str, detail: str = "") -> None:
        self.options.listener(Event(declared.label, state, detail))


def _protected(what: str) -> PrimageError:
    return PrimageError(
        f"{what} is protected and would have to be replaced",
        todo="undo the change that asks for it; or, if its loss is meant, set protect to false, run up, then change it",
    )
