"""The embedded engine: a program's declarations applied by this process, with state of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from primage.clients.cluster import Cluster, Object, Refused
from primage.engine.changes import Action, Change, Event, Result
from primage.engine.embedded import dynamic
from primage.engine.embedded.objects import MASK
from primage.engine.embedded.program import run_program
from primage.engine.embedded.readiness import verdict
from primage.engine.embedded.session import Mode, Session
from primage.engine.embedded.state import Entry, FileStore, SecretStore, StackState, StateStore, Status, find_unreadable
from primage.engine.embedded.waiting import wait_gone
from primage.engine.engine import Options
from primage.engine.settings import effective_config
from primage.errors import ExitCode, PrimageError
from primage.names import ORGANIZATION, SITE_PROJECT
from primage.paths import repository_root, state_dir
from primage.stack import Project, StackName, all_projects, parse_stack_name, project_of


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
        store = self._store(name, project)
        state = store.load()
        planned = self._run(Mode.PLAN, name, project, options, state, None)
        changes = [*planned.changes.values(), *_leaving(state, planned)]
        return Result(str(name), tuple(changes), _shown(planned), time.monotonic() - started)

    def up(self, name: StackName, options: Options) -> Result:
        """Plan, then apply what differs, then remove what left the program."""
        started = time.monotonic()
        project = project_of(name)
        store = self._store(name, project)
        with store.lock():
            state = store.load()
            planned = self._run(Mode.PLAN, name, project, options, state, None)
            leaving = _leaving(state, planned)
            for change in leaving:
                _refuse_protected(state.resources[change.urn])
            if not _pending(planned, state) and not leaving:
                if _kept(planned) != (state.outputs, state.secret_outputs):
                    self._keep_outputs(state, planned, store)
                return Result(str(name), tuple(planned.changes.values()), _shown(planned), time.monotonic() - started)
            applied = self._run(Mode.APPLY, name, project, options, state, store, planned)
            self._delete([state.resources[c.urn] for c in leaving], state, store, options)
            self._keep_outputs(state, applied, store)
        changes = (*applied.changes.values(), *leaving)
        return Result(str(name), changes, _shown(applied), time.monotonic() - started, applied.timings)

    def destroy(self, name: StackName, options: Options) -> Result:
        """Remove what the state lists, dependants first; the program is not run."""
        started = time.monotonic()
        store = self._store(name, project_of(name))
        with store.lock():
            state = store.load()
            entries = sorted(state.resources.values(), key=lambda entry: entry.order)
            for entry in entries:
                _refuse_protected(entry)
            changes = [Change(e.urn, e.label, Action.KEEP if e.retain else Action.DELETE) for e in entries]
            self._delete(entries, state, store, options)
            store.remove()
        return Result(str(name), tuple(changes), {}, time.monotonic() - started)

    def outputs(self, name: StackName) -> dict[str, Any]:
        """Outputs of the last `up`."""
        state = self._store(name, project_of(name)).load()
        return {**state.outputs, **dict.fromkeys(state.secret_outputs, MASK)}

    def render(self, name: StackName, options: Options) -> list[Object]:
        """Run the program with no cluster at all."""
        return list(self._run(Mode.RENDER, name, project_of(name), options, StackState(str(name)), None).objects.values())

    def offline_outputs(self, name: StackName, options: Options) -> dict[str, Any]:
        """What the program would output, with no cluster at all."""
        session = self._run(Mode.RENDER, name, project_of(name), options, StackState(str(name)), None)
        return dict(session.stack_outputs.value)

    def status(self, name: StackName) -> list[tuple[str, str, str]]:
        """Every object the stack owns: its label, `ready`, `waiting`, `failed`, `missing` or `unfinished`, and why."""
        rows = []
        for entry, cluster in self.owned(name):
            if entry.ref is None or cluster is None:
                rows.append((entry.label, str(entry.status), ""))
                continue
            live = cluster.get(entry.ref)
            if live is None:
                cleaned = entry.ref.kind == "Job" and entry.status is Status.READY
                rows.append((entry.label, "ready" if cleaned else "missing", "finished and cleaned up" if cleaned else ""))
                continue
            found = verdict(live)
            rows.append((entry.label, found.state.value, found.detail))
        return rows

    def owned(self, name: StackName) -> list[tuple[Entry, Cluster | None]]:
        """What the stack owns, in dependency order, each object with the cluster it is on."""
        entries = sorted(self._store(name, project_of(name)).load().resources.values(), key=lambda e: e.order)
        return [(entry, self._connect(entry.kubeconfig, entry.context) if entry.ref else None) for entry in entries]

    def default_cluster(self) -> Cluster:
        """The cluster of the site named by PRIMAGE_SITE, `local` unless it is set."""
        site = self._site_outputs(os.environ.get("PRIMAGE_SITE", "local"))
        return self._connect(str(site.get("kubeconfig", "")), str(site.get("context", "")))

    # -- parts -----------------------------------------------------------------------------------------------------

    def _run(
        self,
        mode: Mode,
        name: StackName,
        project: Project,
        options: Options,
        state: StackState,
        store: StateStore | None,
        planned: Session | None = None,
    ) -> Session:
        certain = {
            urn: change
            for urn, change in (planned.changes if planned else {}).items()
            if not change.reason.startswith("depends on")
        }
        session = Session(
            mode=mode,
            manager=f"primage:{project.name}/{name.stack}"[:128],
            state=state,
            store=store,
            connect=self._connect,
            read_outputs=lambda full: self._read_outputs(full, offline=mode is Mode.RENDER),
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

    def _store(self, name: StackName, project: Project) -> StateStore:
        if not name.run:
            return FileStore(state_dir() / project.name / f"{name.stack}.json", str(name))
        site = self._site_outputs(name.site)
        cluster = self._connect(str(site.get("kubeconfig", "")), str(site.get("context", "")))
        return SecretStore(cluster, name.namespace, f"primage-state.{name.app}.{name.run}", str(name))

    def _site_outputs(self, site: str) -> dict[str, Any]:
        outputs, _ = self._read_outputs(f"{ORGANIZATION}/{SITE_PROJECT}/{site}", offline=False)
        found = outputs.get("site")
        return dict(found) if isinstance(found, dict) else {}

    def _read_outputs(self, full_name: str, *, offline: bool) -> tuple[dict[str, Any], list[str]]:
        """Outputs of a stack by its full name (`organization/project/stack`)."""
        _, _, rest = full_name.partition("/")
        project_name, _, stack = rest.partition("/")
        project = next((p for p in all_projects(repository_root()) if p.name == project_name), None)
        if project is None:
            raise PrimageError(f"the program refers to stack {full_name}, and no project here is called {project_name}")
        name = parse_stack_name(stack if project_name == SITE_PROJECT else f"{project.folder.name}/{stack}")
        state = FileStore(state_dir() / project_name / f"{stack}.json", str(name)).load()
        if offline:
            return _offline_outputs_of(name), []
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

    def _delete(self, entries: list[Entry], state: StackState, store: StateStore, options: Options) -> None:
        """Delete level by level, the last ones first; what shares a level goes at once."""
        lock = threading.Lock()

        def remove(entry: Entry) -> None:
            if not entry.retain:
                with lock:
                    entry.status = Status.DELETING
                    store.save(state)
                self._remove(entry, options)
            with lock:
                del state.resources[entry.urn]
                store.save(state)

        for level in sorted({entry.level for entry in entries}, reverse=True):
            with ThreadPoolExecutor(max_workers=16) as pool:
                list(pool.map(remove, [entry for entry in entries if entry.level == level]))

    def _remove(self, entry: Entry, options: Options) -> None:
        if entry.ref is None:
            if entry.dynamic.get("id"):
                kept = entry.dynamic
                dynamic.delete(str(kept["id"]), {**kept.get("inputs", {}), **kept.get("outputs", {})}, str(kept["provider"]))
            return
        cluster = self._connect(entry.kubeconfig, entry.context)
        ref = entry.ref
        options.listener(Event(str(ref), "deleting"))
        try:
            cluster.delete(ref)
        except Refused as refusal:
            raise PrimageError(
                f"{ref} was not deleted: {refusal.message}", todo="mend what it names, then run the same command again"
            ) from refusal
        wait_gone(
            cluster, ref, timeout_s=options.timeout_s, report=lambda detail: options.listener(Event(str(ref), "deleting", detail))
        )
        options.listener(Event(str(ref), "deleted"))


def _offline_outputs_of(name: StackName) -> dict[str, Any]:
    """In a process of its own: Pulumi's runtime holds one program at a time."""
    done = subprocess.run(
        [sys.executable, "-m", "primage", "outputs", str(name), "--offline", "--json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
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


def _leaving(state: StackState, planned: Session) -> list[Change]:
    gone = [entry for urn, entry in state.resources.items() if urn not in planned.changes]
    return [Change(e.urn, e.label, Action.KEEP if e.retain else Action.DELETE) for e in gone]


def _refuse_protected(entry: Entry) -> None:
    if entry.protect:
        raise PrimageError(
            f"{entry.label} is protected and would be deleted, with everything in it",
            todo="undo the change that removes it; or, if its loss is meant, set `protect: false` for the site, run "
            "`primage up`, and then remove it",
        )


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
