"""The Pulumi CLI as an engine: the same programs, the same words about them, with the backend the operator has logged in to."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from primage.clients.cluster import Cluster, Object, Ref
from primage.engine import moved, protection
from primage.engine.api import Event, Options, Result, silent
from primage.engine.pulumi_cli.command import CommandFailed, NoSuchStack, Workspace, elsewhere, workspace
from primage.engine.pulumi_cli.deployment import Deployment, leaving, unnoted
from primage.engine.pulumi_cli.leftovers import remove
from primage.engine.pulumi_cli.watch import Watch
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.amounts import require_possible
from primage.projects.connection import site_connection
from primage.projects.project import StackName, project_of

SIDE_BY_SIDE = "32"
"""Resources at a time: most of them wait for the API server."""


class PulumiEngine:
    """Runs `pulumi preview|up|destroy` on a stack.

    It keeps `Options.timeout_s`, writes nothing into the checkout, makes no stack but by `up`, and tells why an object is
    not ready while Pulumi waits for it.
    """

    at_a_time = 4
    """Each has processes of its own, which take a processor and a few hundred MiB for a few seconds."""

    def preview(self, name: StackName, options: Options) -> Result:
        """`pulumi preview`, with what `up` refuses said of each resource."""
        with workspace(name, options.overrides) as here:
            return self.preview_in(here, name, options)

    def up(self, name: StackName, options: Options) -> Result:
        """`pulumi up`, after a preview of it that deletes nothing that the settings protect."""
        started = time.monotonic()
        with workspace(name, options.overrides) as here:
            before = noted(here, name)
            if before is None:
                require_site(name)
            with stack_of(here, name, exists=before is not None):
                planned, jobs = self._watched(here, name, replace(options, listener=silent), "preview")
                protection.require_allowed(planned.changes, where=str(name))
                for job in jobs:
                    require_possible(_cluster(name), job, manager="primage-plan")
            done = self._follow(here, name, options, "up", "--yes", "--skip-preview")
            self._clear_up(name, unnoted(before or {}), {change.urn for change in done.changes}, options)
            return replace(done, outputs=_outputs(here, name), seconds=time.monotonic() - started)

    def destroy(self, name: StackName, options: Options) -> Result:
        """`pulumi destroy`, where nothing of the stack is protected; a run's stack goes too. Quiet where there is none."""
        started = time.monotonic()
        with workspace(name) as here:
            before = noted(here, name)
            if before is None:
                return Result(str(name), (), seconds=time.monotonic() - started)
            kinds = protection.protected_kinds(project_of(name), name, options.overrides)
            protection.require_allowed(leaving(before, kinds), where=str(name))
            done = self._follow(here, name, options, "destroy", "--yes", "--skip-preview")
            self._clear_up(name, unnoted(before), (), options)
            if name.run:
                run(here, name, "stack", "rm", "--yes")
            moved.forget(name)
            return replace(done, seconds=time.monotonic() - started)

    def outputs(self, name: StackName) -> dict[str, Any]:
        """`pulumi stack output`, secret ones masked; none where the stack is not up."""
        with workspace(name) as here:
            return _outputs(here, name)

    def _clear_up(self, name: StackName, left: dict[str, Ref], declared: Collection[str], options: Options) -> None:
        if left:
            remove(name, left, declared, _cluster(name), options)

    def preview_in(self, here: Workspace, name: StackName, options: Options) -> Result:
        """A preview; of a stack that does not exist on a backend that is thrown away."""
        try:
            return self._follow(here, name, options, "preview")
        except NoSuchStack:
            with tempfile.TemporaryDirectory(prefix="primage-pulumi-") as folder:
                there = elsewhere(here, Path(folder))
                if name.app:
                    _copy_site(name, Path(folder))
                run(there, name, "stack", "init", "--no-select")
                return self._follow(there, name, options, "preview")

    def _follow(self, here: Workspace, name: StackName, options: Options, *arguments: str) -> Result:
        """One operation to its end; raises as `_watched` does."""
        return self._watched(here, name, options, *arguments)[0]

    def _watched(self, here: Workspace, name: StackName, options: Options, *arguments: str) -> tuple[Result, list[Object]]:
        """One operation to its end, and the Jobs with pods that it makes or replaces, as the program declares them.

        Raises:
            NoSuchStack: the backend has no such stack.
            PrimageError: it failed, or an object was waited for too long.
        """
        watch = Watch(options, cache(partial(_cluster, name)), really="--yes" in arguments)
        started = time.monotonic()
        go = partial(here.follow, *arguments, "--parallel", SIDE_BY_SIDE, on_event=watch.hear, on_tick=watch.tick)
        try:
            go()
        except NoSuchStack:
            raise
        except CommandFailed as failed:
            if not _release_dead_locks(here, failed, options):
                raise told(name, failed, watch.errors) from failed
            try:
                go()
            except CommandFailed as again:
                raise told(name, again, watch.errors) from again
        kinds = protection.protected_kinds(project_of(name), name, options.overrides)
        changes = protection.mark(watch.changes.values(), kinds)
        result = Result(str(name), tuple(changes), {}, time.monotonic() - started, watch.timings)
        return result, list(watch.jobs.values())


def _cluster(name: StackName) -> Cluster:
    connection = site_connection(name.site)
    return Cluster(connection.kubeconfig, connection.context)


def run(here: Workspace, name: StackName, *arguments: str) -> str:
    """Standard output of a short command on the stack.

    Raises:
        NoSuchStack: the backend has no such stack.
        PrimageError: any other failure, in a person's words.
    """
    try:
        return here.run(*arguments)
    except NoSuchStack:
        raise
    except CommandFailed as failed:
        raise told(name, failed) from failed


def noted(here: Workspace, name: StackName) -> Deployment | None:
    """What Pulumi has noted of the stack; None where there is no such stack."""
    try:
        found: Deployment = json.loads(run(here, name, "stack", "export"))["deployment"]
    except NoSuchStack:
        return None
    return found


def _outputs(here: Workspace, name: StackName) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(run(here, name, "stack", "output", "--json"))
    except NoSuchStack:
        return {}
    return found


@contextmanager
def stack_of(here: Workspace, name: StackName, *, exists: bool) -> Iterator[None]:
    """A stack, made where there is none; what was made goes again, empty, if the block fails."""
    if exists:
        yield
        return
    run(here, name, "stack", "init", "--no-select")
    try:
        yield
    except BaseException as error:
        try:
            run(here, name, "stack", "rm", "--yes")
        except PrimageError as left:
            error.add_note(f"The empty stack {name.stack} stays in Pulumi's backend: {left.what}")
        raise


def require_site(name: StackName) -> None:
    """Refuse an app whose site Pulumi's backend does not have.

    Raises:
        PrimageError: it does not.
    """
    if name.app:
        _of_site(name, "stack", "output", "--json")


def _copy_site(name: StackName, backend: Path) -> None:
    """An app's program reads its site's outputs: the site's stack goes along to the backend of a preview."""
    exported, site = _of_site(name, "stack", "export"), StackName(name.site)
    with workspace(site) as here:
        there = elsewhere(here, backend)
        file = here.folder / "site.json"
        file.touch(mode=0o600)
        file.write_text(exported)
        run(there, site, "stack", "init", "--no-select")
        run(there, site, "stack", "import", "--file", str(file))


def _of_site(name: StackName, *arguments: str) -> str:
    """What Pulumi says of the stack of an app's site."""
    site = StackName(name.site)
    with workspace(site) as here:
        try:
            return run(here, site, *arguments)
        except NoSuchStack as error:
            raise PrimageError(
                f"Pulumi's backend does not have site {site}, where {name} reads what the site offers",
                todo=f"`pulumi login` to the backend that has it, or bring the site up (`primage up {site} --engine pulumi`); if "
                f"the embedded engine has it, move it (`primage move {site} --to pulumi`)",
            ) from error


def _release_dead_locks(here: Workspace, failed: CommandFailed, options: Options) -> bool:
    """Take away the locks of runs that were killed on this machine; False where there are none, or others too."""
    locks = failed.locks
    if not locks or not all(lock["host"] == socket.gethostname() and not _alive(int(lock["pid"])) for lock in locks):
        return False
    here.run("cancel", "--yes")
    pids = ", ".join(lock["pid"] for lock in locks)
    options.listener(Event("lock", "removed", f"process {pids}, which held the stack, was killed; going on where it stopped"))
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def told(name: StackName, failed: CommandFailed, errors: list[str] | None = None) -> PrimageError:
    """What went wrong, in a person's words, from what Pulumi said: in its events, or else in its last lines."""
    if failed.locks:
        held = "; ".join("{user} on {host}, process {pid}, since {when}".format_map(lock) for lock in failed.locks)
        return PrimageError(
            f"another run holds stack {name}: {held}",
            todo=f"wait for it to end; if it was killed, run `pulumi -C {project_of(name).folder} cancel --stack {name.stack}`, "
            "and then the same command again",
        )
    said = "\n  ".join(dict.fromkeys(errors or [])) or failed.last_lines()
    code = ExitCode.UNREACHABLE if "configured Kubernetes cluster is unreachable" in failed.said else ExitCode.FAILED
    return PrimageError(
        f"Pulumi did not finish with {name}:\n  {said}\n", todo="correct what it names, then run the same command again", code=code
    )
