"""The embedded engine: a program's declarations applied by this process, with state of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from primage.clients.cluster import Cluster, Object
from primage.engine import moved, protection
from primage.engine.api import Options
from primage.engine.changes import MASK, Action, Change, Result
from primage.engine.embedded.monitor import run_program
from primage.engine.embedded.ownership import Owner, Scope, whose
from primage.engine.embedded.removal import Remover
from primage.engine.embedded.session import Mode, Session
from primage.engine.embedded.state import Entry, FileStore, SecretStore, StackState, StateStore, Status, find_unreadable
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.readiness import verdict
from primage.names import SITE_PROJECT
from primage.paths import repository_root, state_dir
from primage.projects.connection import Connection, site_connection
from primage.projects.overrides import effective_config
from primage.projects.project import Project, StackName, all_projects, parse_stack_name, project_of


class EmbeddedEngine:
    """See docs/explanation/engines.md. One instance may serve many operations; connections are kept."""

    def __init__(self) -> None:
        self._clusters: dict[tuple[str, str], Cluster] = {}
        self._guard = threading.Lock()

    # -- operations ------------------------------------------------------------------------------------------------

    def preview(self, name: StackName, options: Options) -> Result:
        """Run the program against server-side dry runs."""
        started = time.monotonic()
        project = project_of(name)
        store = self.store(name)
        state = store.load()
        remover = self._remover(name, project, options, may_move=True)
        planned = self._run(Mode.PLAN, name, project, options, state, remover)
        changes = _allowed(name, project, options, state, remover, planned)
        return Result(str(name), tuple(changes), _shown(planned), time.monotonic() - started)

    def up(self, name: StackName, options: Options) -> Result:
        """Plan, then apply what differs, then remove what left the program."""
        started = time.monotonic()
        project = project_of(name)
        store = self.store(name)
        with store.lock():
            state = store.load()
            remover = self._remover(name, project, options, may_move=True)
            planned = self._run(Mode.PLAN, name, project, options, state, remover)
            changes = _allowed(name, project, options, state, remover, planned)
            protection.require_allowed(changes, where=store.where)
            leaving = [change for change in changes if change.urn not in planned.changes]
            if not _pending(planned, state) and not leaving:
                if _kept(planned) != (state.outputs, state.secret_outputs):
                    self._keep_outputs(state, planned, store)
                return Result(str(name), tuple(changes), _shown(planned), time.monotonic() - started)
            applied = self._run(Mode.APPLY, name, project, options, state, remover, store, planned)
            self._delete([state.resources[c.urn] for c in leaving], state, store, remover)
            self._keep_outputs(state, applied, store)
        return Result(
            str(name), (*applied.changes.values(), *leaving), _shown(applied), time.monotonic() - started, applied.timings
        )

    def destroy(self, name: StackName, options: Options) -> Result:
        """Remove what the state lists, dependants first; the program is not run."""
        started = time.monotonic()
        project = project_of(name)
        store = self.store(name)
        with store.lock():
            state = store.load()
            remover = self._remover(name, project, options)
            changes = _allowed(name, project, options, state, remover, None)
            protection.require_allowed(changes, where=store.where)
            self._delete([*state.resources.values()], state, store, remover)
            store.remove()
        return Result(str(name), tuple(changes), {}, time.monotonic() - started)

    def outputs(self, name: StackName) -> dict[str, Any]:
        """Outputs of the last `up`."""
        state = self.store(name).load()
        return {**state.outputs, **dict.fromkeys(state.secret_outputs, MASK)}

    def render(self, name: StackName, options: Options) -> list[Object]:
        """Run the program with no cluster at all."""
        return list(self._run(Mode.RENDER, name, project_of(name), options, StackState(str(name))).objects.values())

    def offline_outputs(self, name: StackName, options: Options) -> dict[str, Any]:
        """What the program would output, with no cluster at all."""
        session = self._run(Mode.RENDER, name, project_of(name), options, StackState(str(name)))
        return dict(session.stack_outputs.value)

    def status(self, name: StackName) -> list[tuple[str, str, str]]:
        """Every object the stack owns: its label, `ready`, `waiting`, `failed`, `missing` or `unfinished`, and why."""
        rows = []
        owner = Owner.of(name, project_of(name))
        for entry, cluster in self.owned(name):
            if entry.ref is None or cluster is None:
                rows.append((entry.label, str(entry.status), ""))
                continue
            live = cluster.get(entry.ref)
            if live is not None and not owner.owns(live):
                rows.append((entry.label, "missing", f"the one there is not this stack's ({whose(live)})"))
                continue
            if live is None:
                cleaned = entry.ref.kind == "Job" and entry.status is Status.READY
                rows.append((entry.label, "ready" if cleaned else "missing", "finished and cleaned up" if cleaned else ""))
                continue
            found = verdict(live)
            rows.append((entry.label, found.state.value, found.detail))
        return rows

    def owned(self, name: StackName) -> list[tuple[Entry, Cluster | None]]:
        """What the stack owns, in dependency order, each object with the cluster it is on."""
        entries = sorted(self.store(name).load().resources.values(), key=lambda e: e.order)
        cluster = self.cluster_of(name) if entries else None
        return [(entry, cluster if entry.ref else None) for entry in entries]

    def cluster_of(self, name: StackName) -> Cluster:
        """The cluster of a stack's site, as the site's own settings have it."""
        return self._reach(self._connection(name))

    def default_cluster(self) -> Cluster:
        """The cluster of the site named by PRIMAGE_SITE, `local` unless it is set."""
        return self.cluster_of(StackName(os.environ.get("PRIMAGE_SITE", "local")))

    # -- parts -----------------------------------------------------------------------------------------------------

    def _run(
        self,
        mode: Mode,
        name: StackName,
        project: Project,
        options: Options,
        state: StackState,
        remover: Remover | None = None,
        store: StateStore | None = None,
        planned: Session | None = None,
    ) -> Session:
        certain = {
            urn: change
            for urn, change in (planned.changes if planned else {}).items()
            if not change.reason.startswith("depends on")
        }
        session = Session(
            mode=mode,
            owner=Owner.of(name, project),
            scope=Scope.of(name),
            protected=protection.protected_kinds(project, name, options.overrides) if remover else frozenset(),
            remover=remover,
            state=state,
            store=store,
            connect=self._connect,
            read_outputs=lambda full: self.read_outputs(full, offline=mode is Mode.RENDER),
            listener=options.listener,
            plan=certain,
            timeout_s=options.timeout_s,
        )
        try:
            run_program(
                project.program,
                project=project.name,
                stack=name.stack,
                config=effective_config(project, name, options.overrides),
                preview=mode is not Mode.APPLY,
                host=session,
            )
        except PrimageError:
            if not session.errors:
                raise
        if session.errors:
            raise _together(session.errors)
        return session

    def _connect(self, kubeconfig: str, context: str) -> Cluster:
        with self._guard:
            if (kubeconfig, context) not in self._clusters:
                self._clusters[kubeconfig, context] = Cluster(kubeconfig, context)
            return self._clusters[kubeconfig, context]

    def _reach(self, connection: Connection) -> Cluster:
        return self._connect(connection.kubeconfig, connection.context)

    def _connection(self, name: StackName, *, may_move: bool = False) -> Connection:
        """Where the stack's objects are, as its site's own settings say.

        Args:
            may_move: whether this operation brings the stack up: a site is where its settings say from then on.

        Raises:
            PrimageError: the site was last brought up somewhere else, so that what is looked for would not be found.
        """
        connection = site_connection(name.site)
        if may_move and not name.app:
            return connection
        kept = FileStore(state_dir() / SITE_PROJECT / f"{name.site}.json", StackName(name.site))
        outputs = kept.load().outputs.get("site")
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

    def store(self, name: StackName) -> StateStore:
        """Where a stack's state is kept.

        Raises:
            PrimageError: Pulumi's engine has the stack.
        """
        moved.require_here(name)
        if not name.run:
            return FileStore(state_dir() / project_of(name).name / f"{name.stack}.json", name)
        return SecretStore(self.cluster_of(name), name)

    def _remover(self, name: StackName, project: Project, options: Options, *, may_move: bool = False) -> Remover:
        return Remover(
            owner=Owner.of(name, project),
            scope=Scope.of(name),
            connection=self._connection(name, may_move=may_move),
            connect=self._reach,
            listener=options.listener,
            timeout_s=options.timeout_s,
        )

    def read_outputs(self, full_name: str, *, offline: bool = False) -> tuple[dict[str, Any], list[str]]:
        """Outputs of a stack by its full name (`organization/project/stack`), and which of them are secret.

        Args:
            offline: work them out from the program; so it is, too, where Pulumi's engine has the stack.
        """
        _, _, rest = full_name.partition("/")
        project_name, _, stack = rest.partition("/")
        project = next((p for p in all_projects(repository_root()) if p.name == project_name), None)
        if project is None:
            raise PrimageError(f"the program refers to stack {full_name}, and no project here is called {project_name}")
        name = parse_stack_name(stack if project_name == SITE_PROJECT else f"{project.folder.name}/{stack}")
        if offline or moved.aside(name).exists():
            return _offline_outputs_of(name), []
        state = FileStore(state_dir() / project_name / f"{stack}.json", name).load()
        if not state.outputs:
            raise PrimageError(
                f"stack {name}, which this one refers to, is not up",
                todo=f"run `primage up {name}` first",
                code=ExitCode.FAILED,
            )
        if state.secret_outputs:
            raise find_unreadable(state, state.secret_outputs[0])
        return state.outputs, []

    def _keep_outputs(self, state: StackState, session: Session, store: StateStore) -> None:
        state.outputs, state.secret_outputs = _kept(session)
        store.save(state)

    def _delete(self, entries: list[Entry], state: StackState, store: StateStore, remover: Remover) -> None:
        """Delete level by level, the last ones first; what shares a level goes at once."""
        lock = threading.Lock()

        def remove(entry: Entry) -> None:
            if not entry.retain:
                with lock:
                    state.resources[entry.urn] = entry.model_copy(update={"status": Status.DELETING})
                    store.save(state)
                remover.remove(entry)
            with lock:
                del state.resources[entry.urn]
                store.save(state)

        for level in sorted({entry.level for entry in entries}, reverse=True):
            with ThreadPoolExecutor(max_workers=16) as pool:
                list(pool.map(remove, [entry for entry in entries if entry.level == level]))


def _offline_outputs_of(name: StackName) -> dict[str, Any]:
    """In a process of its own: Pulumi's runtime holds one program at a time."""
    done = subprocess.run(
        [sys.executable, "-m", "primage", "outputs", str(name), "--offline", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise PrimageError(f"the outputs of stack {name} cannot be worked out offline: {done.stderr.strip()[-500:]}")
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def _pending(planned: Session, state: StackState) -> bool:
    for urn, change in planned.changes.items():
        entry = state.resources.get(urn)
        if change.action is not Action.SAME or entry is None or entry.status is not Status.READY:
            return True
        if (entry.protect, entry.retain) != planned.guards[urn]:
            return True
    return False


def _allowed(
    name: StackName, project: Project, options: Options, state: StackState, remover: Remover, planned: Session | None
) -> list[Change]:
    """Every change of an `up`, or of a `destroy` where nothing is planned, with what is refused said of each."""
    kinds = protection.protected_kinds(project, name, options.overrides)
    coming = planned.changes if planned else {}
    guards = planned.guards if planned else {}
    found = []
    for change in [*coming.values(), *_leaving(state, coming)]:
        entry = state.resources.get(change.urn)
        protected = bool(entry and entry.protect) or guards.get(change.urn, (False, False))[0]
        why = protection.objection(change, kinds=kinds, protected=protected)
        if not why and entry and change.action is Action.DELETE:
            why = remover.objection(entry)
        found.append(replace(change, refused=why) if why else change)
    return found


def _leaving(state: StackState, coming: Mapping[str, Change]) -> list[Change]:
    gone = sorted((entry for urn, entry in state.resources.items() if urn not in coming), key=lambda entry: entry.order)
    return [Change(e.urn, e.label, Action.KEEP if e.retain else Action.DELETE) for e in gone]


def _kept(session: Session) -> tuple[dict[str, Any], list[str]]:
    """The outputs whose values may be kept, and the names of the secret ones."""
    outputs = session.stack_outputs
    hidden = sorted({str(path[0]) for path in outputs.secrets if path})
    return {key: value for key, value in outputs.value.items() if key not in hidden}, hidden


def _shown(session: Session) -> dict[str, Any]:
    hidden = {str(path[0]) for path in session.stack_outputs.secrets if path}
    return {key: MASK if key in hidden else value for key, value in session.stack_outputs.value.items()}


def _together(errors: list[PrimageError]) -> PrimageError:
    """One error that says all of them."""
    if len(errors) == 1:
        return errors[0]
    first = errors[0]
    return PrimageError("\n".join(str(error) for error in errors), code=first.code)
