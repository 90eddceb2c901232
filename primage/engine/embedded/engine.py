"""The embedded engine: a program's declarations applied by this process, with state of its own."""

from __future__ import annotations

import time
from typing import Any

from primage.clients.cluster import Cluster, Object
from primage.engine import moved, protection
from primage.engine.api import MASK, Options, Result
from primage.engine.embedded.applier import Applier
from primage.engine.embedded.clusters import Clusters, connection_of
from primage.engine.embedded.failures import Failures
from primage.engine.embedded.intake import ReadOutputs, run
from primage.engine.embedded.ledger import Ledger
from primage.engine.embedded.operation import Operation
from primage.engine.embedded.outputs import kept, read_kept, shown
from primage.engine.embedded.planner import Planner, judged
from primage.engine.embedded.removal import Remover
from primage.engine.embedded.renderer import offline_outputs_for, render
from primage.engine.embedded.state import StackState
from primage.engine.embedded.stores import SecretStore, StateStore, file_store
from primage.engine.standing import site_stands
from primage.projects.project import StackName


class EmbeddedEngine:
    """See docs/explanation/engines.md. One instance may serve many operations; connections are kept."""

    at_a_time = 1
    """Programs run in this process, with Pulumi's settings of the whole process."""

    def __init__(self) -> None:
        self._clusters = Clusters()

    # -- operations ------------------------------------------------------------------------------------------------

    def preview(self, name: StackName, options: Options) -> Result:
        """Run the program against server-side dry runs."""
        started = time.monotonic()
        operation = Operation.of(name, options)
        state = self.store(name).load()
        planner, remover = self._planner(operation, state), self._remover(operation, may_move=True)
        outputs = run(operation, planner, read_outputs_for(name, self._clusters), preview=True)
        changes = judged(planner, remover, operation.protected_kinds)
        return Result(str(name), tuple(changes), shown(outputs), time.monotonic() - started)

    def up(self, name: StackName, options: Options) -> Result:
        """Plan, then apply what differs, then remove what left the program."""
        started = time.monotonic()
        operation, store = Operation.of(name, options), self.store(name)
        with store.lock():
            state = store.load()
            ledger, remover = Ledger(state, store), self._remover(operation, may_move=True)
            read_outputs = read_outputs_for(name, self._clusters)
            planner = self._planner(operation, state)
            outputs = run(operation, planner, read_outputs, preview=True)
            changes = judged(planner, remover, operation.protected_kinds)
            protection.require_allowed(changes, where=store.where)
            leaving = [change for change in changes if change.urn not in planner.changes]
            if not planner.changes_anything() and not leaving:
                if kept(outputs) != (state.outputs, state.secret_outputs):
                    ledger.note_outputs(outputs)
                return Result(str(name), tuple(changes), shown(outputs), time.monotonic() - started)
            applier = self._applier(operation, planner, ledger, remover)
            outputs = run(operation, applier, read_outputs, preview=False, failures=applier.failures)
            remover.remove_all([state.resources[change.urn] for change in leaving], ledger)
            ledger.note_outputs(outputs)
        done = (*applier.changes.values(), *leaving)
        return Result(str(name), done, shown(outputs), time.monotonic() - started, applier.timings)

    def destroy(self, name: StackName, options: Options) -> Result:
        """Remove what the state lists, dependants first; the program is not run."""
        started = time.monotonic()
        operation, store = Operation.of(name, options), self.store(name)
        with store.lock():
            state = store.load()
            remover = self._remover(operation)
            changes = judged(self._planner(operation, state), remover, operation.protected_kinds)
            protection.require_allowed(changes, where=store.where)
            remover.remove_all(state.resources.values(), Ledger(state, store))
            store.remove()
        return Result(str(name), tuple(changes), {}, time.monotonic() - started)

    def outputs(self, name: StackName) -> dict[str, Any]:
        """Outputs of the last `up`."""
        state = self.store(name).load()
        return {**state.outputs, **dict.fromkeys(state.secret_outputs, MASK)}

    def render(self, name: StackName, options: Options) -> list[Object]:
        """The Kubernetes objects that the program stands for, with no cluster at all; secrets are masked."""
        return render(name, options).objects

    def offline_outputs(self, name: StackName, options: Options) -> dict[str, Any]:
        """What the program would output, with no cluster at all."""
        return render(name, options).outputs

    # -- what is there ---------------------------------------------------------------------------------------------

    def cluster_of(self, name: StackName) -> Cluster:
        """The cluster of a stack's site, as the site's own settings have it."""
        return self._clusters.of(name)

    def store(self, name: StackName) -> StateStore:
        """Where a stack's state is kept.

        Raises:
            PrimageError: Pulumi's engine has the stack.
        """
        moved.require_here(name)
        return SecretStore(self.cluster_of(name), name) if name.run else file_store(name)

    # -- parts -----------------------------------------------------------------------------------------------------

    def _planner(self, operation: Operation, state: StackState) -> Planner:
        return Planner(operation.owner, state, self._clusters)

    def _applier(self, operation: Operation, planner: Planner, ledger: Ledger, remover: Remover) -> Applier:
        return Applier(
            planner=planner,
            ledger=ledger,
            remover=remover,
            clusters=self._clusters,
            protected_kinds=operation.protected_kinds,
            options=operation.options,
            failures=Failures(),
        )

    def _remover(self, operation: Operation, *, may_move: bool = False) -> Remover:
        return Remover(
            owner=operation.owner,
            scope=operation.scope,
            connection=connection_of(operation.name, may_move=may_move),
            clusters=self._clusters,
            listener=operation.options.listener,
            timeout_s=operation.options.timeout_s,
        )


def read_outputs_for(name: StackName, clusters: Clusters) -> ReadOutputs:
    """How a stack's program reads other stacks: as they were left here.

    Offline, where Pulumi's engine has the site, or where it was brought up from elsewhere.
    """
    if not name.app:
        return read_kept
    site = StackName(name.site)
    unknown = not file_store(site).load().outputs
    gone = moved.aside(site).exists() or (unknown and site_stands(clusters.of(site), site.site))
    return offline_outputs_for(name) if gone else read_kept
