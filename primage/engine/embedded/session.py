"""One pass of a program through the embedded engine: a plan (server-side dry run) or the real thing."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from primage.clients.cluster import Cluster, Object, Ref, Refused
from primage.components.dynamic_providers import Provider
from primage.engine.changes import MASK, Action, Change, Event, Listener
from primage.engine.embedded import dynamic
from primage.engine.embedded.monitor import Registered, Registration
from primage.engine.embedded.objects import differences, masked
from primage.engine.embedded.ownership import Owner, Scope, whose
from primage.engine.embedded.removal import Remover
from primage.engine.embedded.state import Dynamic, Entry, StackState, StateStore, Status, entry_of
from primage.engine.embedded.values import UNKNOWN, Decoded, Path
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.annotations import PATCH_FORCE, SKIP_AWAIT, TIMEOUT, WAIT_FOR, annotation
from primage.kubernetes.readiness import State, require_known_wait, verdict
from primage.kubernetes.waiting import wait_gone, wait_ready
from primage.names import LABEL_STACK

DEFAULT_TIMEOUT_S = 600.0


class Mode(Enum):
    """What the pass may do."""

    RENDER = "render"
    """Nothing but note what is declared; no cluster is asked."""
    PLAN = "plan"
    """Ask the cluster what would happen."""
    APPLY = "apply"


class Stopped(PrimageError):
    """A resource was not started because another one failed."""


@dataclass
class Session:
    """Implements `program.Host`. Public fields are results, complete when the program has ended.

    Attributes:
        changes: by URN, in the order resources were registered.
        objects: by URN, what was declared (for `render`), secrets masked.
        errors: every failure; independent resources go on after one.
        guards: by URN, whether it is protected, and whether it is retained.

    The rest says what it may do: `owner` and `scope` whose the objects are and where they may be, `protected` the kinds
    that are never replaced, `remover` how something is removed (None where nothing is done).
    """

    mode: Mode
    owner: Owner
    scope: Scope
    protected: frozenset[str]
    remover: Remover | None
    state: StackState
    store: StateStore | None
    connect: Callable[[str, str], Cluster]
    read_outputs: Callable[[str], tuple[dict[str, Any], list[str]]]
    listener: Listener
    plan: dict[str, Change] = field(default_factory=dict)
    timeout_s: float = DEFAULT_TIMEOUT_S

    changes: dict[str, Change] = field(default_factory=dict)
    objects: dict[str, Object] = field(default_factory=dict)
    stack_outputs: Decoded = field(default_factory=lambda: Decoded({}, frozenset(), frozenset()))
    errors: list[PrimageError] = field(default_factory=list)
    timings: dict[str, dict[str, float]] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)
    guards: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    _providers: dict[str, tuple[str, str]] = field(default_factory=dict)
    _guard: threading.RLock = field(default_factory=threading.RLock)

    # -- what the program calls ------------------------------------------------------------------------------------

    def register(self, registration: Registration) -> Registered:
        """One resource; from a thread of its own, after what it depends on."""
        with self._guard:
            self.levels[registration.urn] = 1 + max((self.levels.get(u, 0) for u in registration.dependencies), default=0)
            self.guards[registration.urn] = (registration.protect, registration.retain)
            if self.errors:
                raise Stopped(f"{registration.name} was not started because another resource failed")
        try:
            return self._register(registration)
        except Refused as refusal:
            raise self._failed(_refusal_error(registration, refusal)) from refusal
        except Stopped:
            raise
        except PrimageError as error:
            raise self._failed(error) from error

    def read_stack(self, name: str) -> tuple[dict[str, Any], list[str]]:
        """Outputs of another stack, by its full name."""
        try:
            return self.read_outputs(name)
        except PrimageError as error:
            raise self._failed(error) from error

    def outputs(self, values: Decoded) -> None:
        """The stack's own outputs, at the program's end."""
        self.stack_outputs = values

    # -- kinds of resource -----------------------------------------------------------------------------------------

    def _register(self, registration: Registration) -> Registered:
        inputs = dict(registration.inputs.value)
        if not registration.custom:
            return Registered("", inputs)
        if registration.type == "pulumi:providers:kubernetes":
            with self._guard:
                self._providers[registration.urn] = (str(inputs.get("kubeconfig", "")), str(inputs.get("context", "")))
            return Registered(registration.name, inputs)
        if registration.type.startswith("kubernetes:") and "apiVersion" in inputs:
            return self._kubernetes(registration)
        if dynamic.is_dynamic(registration.type):
            return self._dynamic(registration)
        raise PrimageError(
            f"the embedded engine does not know resources of type {registration.type} (resource {registration.name})",
            todo="install the Pulumi CLI and use --engine pulumi",
            code=ExitCode.UNSUPPORTED,
        )

    # -- Kubernetes ------------------------------------------------------------------------------------------------

    def _kubernetes(self, registration: Registration) -> Registered:
        obj = _object(registration)
        require_known_wait(obj)
        if why := self.scope.objection(Ref.of(obj)):
            raise PrimageError(f"{Ref.of(obj)} {why}", todo="have the app declare what belongs to its VO or member alone")
        hidden = frozenset(registration.inputs.secrets)
        with self._guard:
            self.objects[registration.urn] = masked(obj, hidden)
        if self.mode is Mode.RENDER:
            self._note(registration, Ref.of(obj), Action.CREATE)
            return properties_of(obj, preview=True)
        kubeconfig, context = self._provider(registration)
        cluster = self.connect(kubeconfig, context)
        if self.mode is Mode.PLAN:
            change = self._plan(registration, obj, cluster, hidden)
            with self._guard:
                self.changes[registration.urn] = change
            return properties_of(obj, preview=True)
        return self._apply(registration, obj, cluster, hidden)

    def _plan(self, registration: Registration, obj: Object, cluster: Cluster, hidden: frozenset[Path]) -> Change:
        ref, urn = Ref.of(obj), registration.urn
        entry = self.state.resources.get(urn)
        live = cluster.get(ref)
        if live is None and entry and entry.status is Status.READY and entry.digest and entry.digest == _digest(obj, hidden):
            return Change(urn, str(ref), Action.SAME, reason="it finished and was cleaned up")
        if live is not None and not self.owner.owns(live):
            raise PrimageError(
                f"{ref} exists already and is not this stack's ({whose(live)})",
                todo="give the resource another name in this stack's settings, or take it out of them; the one that is there is "
                "left to whom it belongs",
            )
        if registration.inputs.unknowns:
            action = Action.CREATE if live is None else Action.UPDATE
            return Change(urn, str(ref), action, reason="depends on values known only when it is made")
        if live is None:
            self._dry_run_create(obj, cluster)
            return Change(urn, str(ref), Action.CREATE)
        if obj["kind"] == "Job" and verdict(live).state is State.FAILED:
            return Change(urn, str(ref), Action.REPLACE, reason="it has ended" if _serves(obj) else "it failed the last time")
        wanted = _with_ignored(obj, live, registration.ignore_changes)
        try:
            after = cluster.apply(wanted, manager=self.owner.manager, dry_run=True, force=_forced(obj))
        except Refused as refusal:
            if refusal.status == 422 and "immutable" in refusal.message:
                return Change(urn, str(ref), Action.REPLACE, differences(live, {**live, **obj}, hidden), refusal.message)
            raise
        fields = differences(live, after, hidden)
        return Change(urn, str(ref), Action.UPDATE if fields else Action.SAME, fields)

    def _dry_run_create(self, obj: Object, cluster: Cluster) -> None:
        try:
            cluster.apply(obj, manager=self.owner.manager, dry_run=True)
        except Refused as refusal:
            # Its namespace or its kind may come from the same stack; what is wrong shows when it is really made.
            if refusal.status != 404:
                raise

    def _apply(self, registration: Registration, obj: Object, cluster: Cluster, hidden: frozenset[Path]) -> Registered:
        ref, urn = Ref.of(obj), registration.urn
        change = self.plan.get(urn)
        if change is None or registration.urn not in self.plan:
            change = self._plan(registration, obj, cluster, hidden)
        with self._guard:
            self.changes[urn] = change
        entry = self.state.resources.get(urn)
        if change.action is Action.SAME and entry and entry.status is Status.READY:
            self._save_entry(registration, ref, obj, hidden, Status.READY, write=False)
            return properties_of(cluster.get(ref) or obj)
        if change.action is Action.REPLACE:
            protected = registration.protect or bool(entry and entry.protect) or ref.kind in self.protected
            self._refuse_protected(protected, ref, "replaced")
        self._save_entry(registration, ref, obj, hidden, Status.APPLYING)
        try:
            timing = {"submitted": time.time()}
            if change.action is Action.REPLACE:
                self._say(ref, "deleting")
                cluster.delete(ref)
                wait_gone(cluster, ref, timeout_s=self.timeout_s, report=lambda detail: self._say(ref, "deleting", detail))
                timing["submitted"] = time.time()
            self._say(ref, "creating" if change.action is Action.CREATE else "updating")
            applied = self._send(obj, cluster, registration)
            if annotation(obj, SKIP_AWAIT) != "true":
                applied = self._wait(applied, obj, cluster, registration)
            timing["ready"] = time.time()
        except PrimageError:
            self._save_entry(registration, ref, obj, hidden, Status.FAILED)
            self._say(ref, "failed")
            raise
        with self._guard:
            self.timings[str(ref)] = timing
        self._save_entry(registration, ref, obj, hidden, Status.READY)
        self._say(ref, "ready")
        return properties_of(applied)

    def _send(self, obj: Object, cluster: Cluster, registration: Registration) -> Object:
        wanted = obj
        if registration.ignore_changes:
            live = cluster.get(Ref.of(obj))
            wanted = _with_ignored(obj, live, registration.ignore_changes) if live else obj
        return cluster.apply(wanted, manager=self.owner.manager, force=_forced(obj))

    def _wait(self, applied: Object, obj: Object, cluster: Cluster, registration: Registration) -> Object:
        ref = Ref.of(obj)
        timeout = float(annotation(obj, TIMEOUT) or registration.timeout_s or self.timeout_s)
        return wait_ready(
            cluster,
            applied,
            timeout_s=timeout,
            report=lambda detail: self._say(ref, "waiting", detail),
            failing=lambda: bool(self.errors),
        )

    def _provider(self, registration: Registration) -> tuple[str, str]:
        with self._guard:
            return self._providers.get(registration.provider, ("", ""))

    # -- dynamic providers -----------------------------------------------------------------------------------------

    def _dynamic(self, registration: Registration) -> Registered:
        properties = dict(registration.inputs.value)
        inputs = dynamic.plain(properties)
        provider = dynamic.find_provider(registration.type, registration.name)
        entry = self.state.resources.get(registration.urn)
        old = entry.dynamic if entry and entry.status is Status.READY else None
        if self.mode is Mode.RENDER or registration.inputs.unknowns:
            self._note(registration, None, Action.UPDATE if old else Action.CREATE)
            return Registered("", {**properties})
        before = dynamic.known(old, inputs) if old else {}
        refused = dynamic.check(provider, before, inputs)
        if refused:
            raise PrimageError(f"{registration.name} is refused by its provider: {'; '.join(refused)}")
        kind = dynamic.needs(provider, old.id, before, inputs) if old else "create"
        action = {"same": Action.SAME, "update": Action.UPDATE, "replace": Action.REPLACE, "create": Action.CREATE}[kind]
        self._note(registration, None, action)
        if self.mode is Mode.PLAN:
            same = old if kind == "same" else None
            return Registered(same.id if same else "", {**properties, **(same.outputs if same else {})})
        return self._apply_dynamic(registration, provider, kind, entry)

    def _apply_dynamic(self, registration: Registration, provider: Provider, kind: str, entry: Entry | None) -> Registered:
        properties = dict(registration.inputs.value)
        inputs = dynamic.plain(properties)
        old = (entry.dynamic if entry else None) or Dynamic()
        if kind == "same":
            self._save_dynamic(registration, old.id, old.outputs, Status.READY)
            return Registered(old.id, {**properties, **old.outputs})
        if kind == "replace" and entry and self.remover:
            self._refuse_protected(registration.protect or entry.protect, registration.name, "replaced")
            self.remover.remove(entry)
        kept = old if kind == "update" else Dynamic()
        self._save_dynamic(registration, kept.id, kept.outputs, Status.APPLYING)
        try:
            if kind == "update":
                before = {**dynamic.known(old, inputs), **old.outputs}
                made = dynamic.update(provider, old.id, before, inputs)
            else:
                made = dynamic.create(provider, inputs)
        except Exception as error:
            self._save_dynamic(registration, kept.id, kept.outputs, Status.FAILED)
            if isinstance(error, PrimageError):
                raise
            raise PrimageError(f"{registration.name} failed in its provider: {type(error).__name__}: {error}") from error
        self._save_dynamic(registration, made.id, made.outputs, Status.READY)
        return Registered(made.id, {**properties, **made.outputs})

    # -- notes -----------------------------------------------------------------------------------------------------

    def _note(self, registration: Registration, ref: Ref | None, action: Action) -> None:
        label = str(ref) if ref else f"{registration.type} {registration.name}"
        with self._guard:
            self.changes[registration.urn] = Change(registration.urn, label, action)

    def _failed(self, error: PrimageError) -> PrimageError:
        with self._guard:
            self.errors.append(error)
        return error

    def _say(self, ref: Ref, state: str, detail: str = "") -> None:
        self.listener(Event(str(ref), state, detail))

    def _refuse_protected(self, protected: bool, what: Ref | str, verb: str) -> None:
        if protected:
            raise PrimageError(
                f"{what} is protected and would have to be {verb}",
                todo="undo the change that asks for it; or, if its loss is meant, set protect to false, run up, then change it",
            )

    def _save_entry(
        self, registration: Registration, ref: Ref, obj: Object, hidden: frozenset[Path], status: Status, *, write: bool = True
    ) -> None:
        entry = entry_of(
            urn=registration.urn,
            type=registration.type,
            name=registration.name,
            status=status,
            order=len(self.changes),
            level=self.levels[registration.urn],
            ref=ref,
            digest=_digest(obj, hidden) if obj["kind"] == "Job" and not _serves(obj) else "",
            protect=registration.protect,
            retain=registration.retain,
        )
        self._save(entry, write=write)

    def _save_dynamic(self, registration: Registration, id_: str, outputs: dict[str, Any], status: Status) -> None:
        """Outputs are kept as the provider gave them: what it makes secret it must not return in clear."""
        inputs = _masked_values(dynamic.plain(dict(registration.inputs.value)), (), registration.inputs.secrets)
        entry = entry_of(
            urn=registration.urn,
            type=registration.type,
            name=registration.name,
            status=status,
            order=len(self.changes),
            level=self.levels[registration.urn],
            dynamic={"id": id_, "inputs": inputs, "outputs": outputs},
            protect=registration.protect,
            retain=registration.retain,
        )
        self._save(entry)

    def _save(self, entry: Entry, *, write: bool = True) -> None:
        with self._guard:
            before = self.state.resources.get(entry.urn)
            self.state.resources[entry.urn] = entry
            if self.store and (write or before is None):
                self.store.save(self.state)


def _object(registration: Registration) -> Object:
    """The Kubernetes object a registration stands for.

    Raises:
        PrimageError: it has no name of its own: names the engine makes up would be new on every machine.
    """
    obj = {key: value for key, value in without_nulls(registration.inputs.value).items() if key != "status"}
    name = obj.get("metadata", {}).get("name")
    if not name:
        raise PrimageError(
            f"{registration.type} {registration.name} has no metadata.name",
            todo="name it in the program: programs of this repository choose their objects' names",
        )
    if name == UNKNOWN:
        raise PrimageError(
            f"the name of {registration.type} {registration.name} is not known before the run",
            todo="have the program choose the name",
        )
    return obj


def without_nulls(given: dict[str, Any]) -> dict[str, Any]:
    """Properties that were left out on the way come as None."""
    return {key: value for key, value in given.items() if value is not None}


def properties_of(obj: Object, *, preview: bool = False) -> Registered:
    """What the program sees of an object: its id as Pulumi forms it, and its fields."""
    ref = Ref.of(obj)
    bare = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}
    secret = frozenset({"data", "stringData"} & set(bare)) if obj.get("kind") == "Secret" else frozenset()
    id_ = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
    return Registered("" if preview else id_, bare, secret)


def _forced(obj: Object) -> bool:
    return annotation(obj, PATCH_FORCE) == "true"


def _serves(obj: Object) -> bool:
    """A job that is up while it runs: its end is nothing to keep."""
    return bool(annotation(obj, WAIT_FOR))


def _digest(obj: Object, hidden: frozenset[Path]) -> str:
    """Of what the object is; whose it is does not make a finished Job another one."""
    bare: Object = masked(obj, hidden)
    bare.get("metadata", {}).get("labels", {}).pop(LABEL_STACK, None)
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def _with_ignored(obj: Object, live: Object, ignored: tuple[str, ...]) -> Object:
    """The object with the live values of the fields whose changes the program ignores (`spec.parallelism`)."""
    result: Object = json.loads(json.dumps(obj))
    for path in ignored:
        *parents, last = path.split(".")
        source: Any = live
        target: Any = result
        for part in parents:
            source = source.get(part, {}) if isinstance(source, dict) else {}
            target = target.setdefault(part, {}) if isinstance(target, dict) else {}
        if isinstance(source, dict) and last in source and isinstance(target, dict):
            target[last] = source[last]
    return result


def _masked_values(value: Any, path: Path, secrets: frozenset[Path]) -> Any:
    if any(path[: len(secret)] == secret for secret in secrets):
        return MASK
    if isinstance(value, dict):
        return {key: _masked_values(item, (*path, key), secrets) for key, item in value.items()}
    return value


def _refusal_error(registration: Registration, refusal: Refused) -> PrimageError:
    obj = registration.inputs.value
    meta = obj.get("metadata", {})
    label = f"{obj.get('kind', registration.type)} {meta.get('namespace', '')}/{meta.get('name', registration.name)}"
    todo = {
        "Forbidden": "ask the site's operator for the right to do this, or lower what is asked for to the limits it names",
        "Conflict": "somebody else owns that field: undo their change, or take it over with the annotation pulumi.com/patchForce",
        "Invalid": "correct the field it names in the stack's settings",
        "NotFound": "create what is missing first: is the site up, and does it serve this VO?",
        "Unauthorized": "the credentials in the kubeconfig are not valid (any more): fetch new ones",
    }.get(refusal.reason, "correct what it names, then run the same command again")
    return PrimageError(
        f"{label} was refused by the API server: {refusal.message}", where=f"resource {registration.name}", todo=todo
    )
