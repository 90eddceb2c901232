"""Keeps Slurm in line with a namespace's HPC jobs, and the jobs' status in line with Slurm.

One task follows each job; one loop for each backend looks at all of its jobs at once. Every step can be repeated: what
was already done is found done, on the HPC machine itself, so that the connector may die anywhere. What one job asks for, writes
or leaves behind ends at most that job; a loop that ends by an error, or no longer turns, ends the namespace's connector, which is
started again (organisation.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hpc_connector.clients.backend_secret import BackendSecret
from hpc_connector.clients.home import Home
from hpc_connector.clients.kube import Kube
from hpc_connector.clients.rest_transport import RestTransport
from hpc_connector.clients.shares import Shares
from hpc_connector.clients.shell_transport import ShellTransport
from hpc_connector.domain.backend import backend_for
from hpc_connector.domain.end import End, end_of, explained
from hpc_connector.domain.errors import RefusedError, RejectedError, UnavailableError
from hpc_connector.domain.job import MOST_ATTEMPTS, Object, deadline_s, failures_of, notes_of, now, slurm_number, was_sent, wish
from hpc_connector.domain.request import LEFT_OUT_FOR_NOW, REQUEST_BYTES, TOO_LONG, Request, request_of, shortened
from hpc_connector.domain.seen import NEVER, WAITING, Seen
from hpc_connector.domain.text import count_of, readable
from hpc_connector.monitor import BackendMonitor, retry_s
from hpc_connector.pulse import Pulse
from primage.contract.hpc import (
    ANNOTATION_ATTEMPT,
    ANNOTATION_BACKEND,
    ANNOTATION_DIGEST,
    ANNOTATION_FAILED,
    ANNOTATION_JOB,
    ANNOTATION_SLURM,
    MANAGER,
    Backend,
    digest_of,
    log_file,
)

log = logging.getLogger("hpc_connector")
LIST_S = 60.0
"""For listing a namespace's jobs, and asking who it is."""
AGAIN_S = 5.0
"""At most, until a watch is tried again: the rights that it takes may have come meanwhile."""
LOG_BYTES = 64 << 20
"""Of an attempt's output that is kept in HOME, from its beginning: more than anybody reads, and HOME is everybody's."""
LOG_END_BYTES = 64 << 10
"""Of a longer one, what is kept of its end, where the reason of a failure stands."""
TAIL_BYTES = 2000
"""Of the end of a failed attempt's output, for the Job's condition."""
LEFT_OUT = (
    f"\n[of an attempt's output the first {LOG_BYTES >> 20} MiB and the last {LOG_END_BYTES >> 10} KiB are kept; "
    "what was between is left out; write it to a file and name that among the outputs]\n"
)
MOST_ODD = 10
"""How often one job may fail in a way nobody thought of, in about three minutes, before it is given up."""
JOBS_BYTES = 8 << 20
"""Of a namespace's jobs as they are kept in memory, and of their scripts again: others' are in the same memory."""
STAGED = 4
"""Jobs of a namespace whose files are listed and copied at a time."""
UNFIT_ANSWERS = frozenset({400, 413, 422})
"""Of the API server, to a request that will not be better the next time."""


@dataclass(frozen=True)
class Periods:
    """How long the connector waits for what, seconds; tests shorten them.

    Attributes:
        watch_s: after which the watch of the jobs is started again, with a list of all.
        idle_s: between two looks at a backend where no job is.
        beat_s: between two signs of life.
        grace_s: how much later than it said a loop may turn before the connector counts as dead.
    """

    watch_s: float = 290.0
    idle_s: float = 300.0
    beat_s: float = 10.0
    grace_s: float = 30.0


class Connector:
    """The jobs of one namespace.

    Args:
        home: HOME/private of the namespace.
        backends: those the VO may use, as the site describes them.
        shares: what it has together with those of other namespaces.

    Attributes:
        pulse: whether its loops turn.
        monitors: one for each backend.
    """

    def __init__(
        self, kube: Kube, home: Home, backends: Sequence[Backend], shares: Shares | None = None, periods: Periods | None = None
    ) -> None:
        self._kube = kube
        self._home = home
        self._backends = tuple(backends)
        self._shares = shares or Shares()
        self._periods = periods or Periods()
        self.pulse = Pulse(self._periods.grace_s)
        self._owner = ""
        self._staging = asyncio.Semaphore(STAGED)
        self.monitors: dict[str, BackendMonitor] = {}
        self._jobs: dict[str, Object] = {}
        self._sizes: dict[str, int] = {}
        self._requests: dict[str, tuple[Request, str]] = {}
        self._sent_to: dict[str, str] = {}
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Follow the namespace's jobs until cancelled; an error in any loop, or one that no longer turns, ends all of them."""
        try:
            async with self._group as group:
                group.create_task(self.pulse.until_late(self._periods.beat_s))
                group.create_task(self._follow_all())
        finally:
            self._home.close()
            for monitor in self.monitors.values():
                with suppress(Exception):  # a connection that cannot be ended well has ended
                    await monitor.transport.close()

    async def _follow_all(self) -> None:
        failures = 0
        while True:
            self.pulse.expect("watch", self._periods.watch_s + LIST_S)
            try:
                await self._know_owner()
                async for change, jobs in self._kube.changes(self._periods.watch_s):
                    failures = 0
                    self._take(change, jobs)
            except (UnavailableError, RejectedError) as error:
                failures += 1
                log.warning("%s: cannot follow the jobs: %s", self._kube.namespace, error)
                await asyncio.sleep(min(AGAIN_S, retry_s(failures)))

    async def _know_owner(self) -> None:
        """Who the namespace is, by which Slurm's jobs are known as its own; one of the same name is another."""
        owner = await self._kube.owner()
        if self._owner not in {"", owner}:
            raise RuntimeError(f"namespace {self._kube.namespace} is not the one that it was")
        self._owner = owner

    def _take(self, change: str, jobs: list[Object]) -> None:
        mine = {job["metadata"]["uid"]: job for job in jobs if job["spec"].get("managedBy") == MANAGER}
        if change == "ALL":
            gone = set(self._jobs) - set(mine)
            self._jobs = dict(mine)
            self._open_monitors()
        elif change == "DELETED":
            gone = set(mine)
        else:
            gone = set()
            self._jobs.update(mine)
        for uid in gone:
            self._jobs.pop(uid, None)
            self._requests.pop(uid, None)
            self._sent_to.pop(uid, None)
            self._end_task(uid)
        self._keep_short(mine)
        for uid in self._jobs.keys() & mine.keys():
            self._assign(uid)

    def _keep_short(self, changed: Iterable[str]) -> None:
        """Have the jobs take no more memory than a namespace may have: the newest wait; of those that are over little is kept."""
        stale = [uid for uid in self._sizes if uid not in self._jobs]
        for uid in (*stale, *changed):
            self._sizes.pop(uid, None)
        taken = sum(self._sizes.values())
        for uid in sorted(
            self._jobs.keys() & set(changed), key=lambda uid: str(self._jobs[uid]["metadata"].get("creationTimestamp"))
        ):
            size = len(json.dumps(self._jobs[uid]))
            if taken + size > JOBS_BYTES or not wish(self._jobs[uid]):
                self._jobs[uid] = shortened(self._jobs[uid], for_now=True)
                size = len(json.dumps(self._jobs[uid]))
            self._sizes[uid] = size
            taken += size

    def _open_monitors(self) -> None:
        """One for each backend, jobs or not, once it is known which jobs there are: whatever is there of others is ended."""
        for backend in self._backends:
            if backend.name not in self.monitors:
                secret = BackendSecret(self._kube, backend.name)
                kind = RestTransport if backend.slurmrestd else ShellTransport
                monitor = self.monitors[backend.name] = BackendMonitor(
                    backend,
                    kind(backend, self._owner, secret.credentials, self._shares),
                    secret,
                    whose=self._kube.namespace,
                    wanted=self._wanted,
                    spawn=self._group.create_task,
                    pulse=self.pulse,
                    looks=self._shares.looks,
                    idle_s=self._periods.idle_s,
                )
                self._group.create_task(monitor.look_forever())

    def _wanted(self, uid: str) -> bool:
        """Whether anything in Slurm may live for that Job: none for one that is gone, over, or let go."""
        return uid in self._jobs and wish(self._jobs[uid]) not in {"", "tidy"}

    def _assign(self, uid: str) -> None:
        """See that the task that fits the job's wish is at it."""
        job = self._jobs[uid]
        purpose = wish(job)
        current = self._tasks.get(uid)
        if current and (current[0] == purpose or (current[0] == "delete" and purpose != "delete")):
            return
        if current:
            self._end_task(uid)
        steps: dict[str, Callable[[Object], Awaitable[None]]] = {
            "run": self._follow,
            "suspend": self._suspend,
            "delete": self._delete,
            "tidy": self._tidy,
        }
        if purpose in steps:
            self._tasks[uid] = (purpose, self._group.create_task(self._persist(job, steps[purpose])))

    def _end_task(self, uid: str) -> None:
        _, task = self._tasks.pop(uid, ("", None))
        if task:
            task.cancel()

    async def _persist(self, job: Object, step: Callable[[Object], Awaitable[None]]) -> None:
        """Do a step until it is done; what may pass is waited for, and said; what nobody thought of ends the job, and only it."""
        failures = odd = 0
        while True:
            try:
                await step(self._jobs.get(job["metadata"]["uid"], job))
                return
            except UnavailableError as error:
                reason, message = error.reason, str(error)
            except RejectedError as error:
                reason, message = "ApiServer", str(error)
                if error.not_found:
                    return
                odd += error.code in UNFIT_ANSWERS
            except (Exception, asyncio.CancelledError) as error:
                current = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and current and current.cancelling():
                    raise  # somebody ended this task; otherwise what it waited for was, and that is a failure like another
                log.exception("%s: job %s", self._kube.namespace, job["metadata"]["name"])
                reason, message = "ConnectorFailed", f"{type(error).__name__}: {error}"
                odd += 1
            message = readable(message)
            log.warning("%s: job %s: %s: %s", self._kube.namespace, job["metadata"]["name"], reason, message)
            await self._say(job, reason, message, warning=True)
            if odd >= MOST_ODD and step == self._follow:
                step = self._give_up
            failures += 1
            await asyncio.sleep(retry_s(failures))

    async def _give_up(self, job: Object) -> None:
        await self._stop(job)
        message = "the connector failed at this job again and again, see its events; an operator finds more in the connector's log"
        await self._finish(job, End(done=False, reason="ConnectorFailed", message=message, again=False))

    async def _say(self, job: Object, reason: str, message: str, *, warning: bool = False) -> None:
        try:
            await self._kube.event(job, reason, message, warning=warning)
        except Exception as error:  # noqa: BLE001  # an event that cannot be written must not stop the job
            log.warning("%s: cannot write an event: %s", self._kube.namespace, error)

    async def _request(self, job: Object) -> tuple[Request, str]:
        """What the job asks for, and the digest of that: read once, and after a restart only as it was."""
        uid = job["metadata"]["uid"]
        if uid not in self._requests:
            if job["spec"].get(TOO_LONG):
                raise RefusedError("Unfit", f"the Job is longer than {REQUEST_BYTES >> 10} KiB; keep what it needs in HOME")
            if job["spec"].get(LEFT_OUT_FOR_NOW):
                raise UnavailableError("TooMuch", f"the Jobs of this namespace are longer than {JOBS_BYTES >> 20} MiB together")
            # In the template, which cannot be changed: another script is another job.
            template = job["spec"]["template"].get("metadata", {}).get("annotations") or {}
            name = template.get(ANNOTATION_JOB)
            if not name:
                words = f"the pod template's annotation {ANNOTATION_JOB} must name the config map with the script"
                raise RefusedError("Unfit", words)
            data = await self._kube.config_map(name)
            meant = template.get(ANNOTATION_DIGEST) or notes_of(job).get(ANNOTATION_DIGEST)
            if meant and meant != digest_of(data):
                words = f"config map {name} is not what it was when the job was made; make another job for another script"
                raise RefusedError("ScriptChanged", words)
            if self._texts() + len(data.get("job", "")) > JOBS_BYTES:
                raise UnavailableError(
                    "TooMuch", f"the scripts of this namespace's jobs are longer than {JOBS_BYTES >> 20} MiB together"
                )
            self._requests[uid] = request_of(job, data), digest_of(data)
        return self._requests[uid]

    def _texts(self) -> int:
        """Characters of what jobs ask for that is kept beside the Jobs themselves."""
        return sum(len(one.script) + sum(map(len, one.inputs + one.outputs)) for one, _ in self._requests.values())

    # -- a job's life ----------------------------------------------------------------------------------------------

    async def _follow(self, job: Object) -> None:
        try:
            request, _ = await self._request(job)
            monitor = self.monitors[backend_for(request.host, self._backends).name]
            with monitor.in_use():
                end = await self._in_time(job, request, monitor)
                if end.done:
                    async with self._staging:
                        await monitor.transport.fetch(request, self._home)
        except RefusedError as error:
            await self._stop(job)
            end = End(done=False, reason=error.reason, message=str(error), again=False)
        await self._finish(job, end)

    async def _in_time(self, job: Object, request: Request, monitor: BackendMonitor) -> End:
        """The job's attempts, within its deadline; bringing its outputs home may take longer."""
        limit = asyncio.timeout(deadline_s(job))
        try:
            async with limit:
                return await self._attempts(job, request, monitor)
        except TimeoutError:
            if not limit.expired():
                raise
        if await self._ended_well(job, request, monitor):
            return End(done=True)
        await self._stop(job)
        message = f"not done within {job['spec'].get('activeDeadlineSeconds')} s"
        return End(done=False, reason="DeadlineExceeded", message=message, again=False)

    async def _ended_well(self, job: Object, request: Request, monitor: BackendMonitor) -> bool:
        """Whether the attempt that was under way at the deadline had ended by then: what it made is not thrown away."""
        live = await self._kube.job(request.name, request.uid) or job
        attempt = count_of(notes_of(live).get(ANNOTATION_ATTEMPT), MOST_ATTEMPTS)
        if not attempt:
            return False
        with monitor.following(request, attempt, slurm_number(notes_of(live)) or "") as look:
            seen = await look()
        return seen.over and end_of(seen).done

    async def _attempts(self, job: Object, request: Request, monitor: BackendMonitor) -> End:
        """Try until one attempt succeeds or there are no tries left."""
        # Before the intent: a job that could never be sent anywhere needs nobody's leave to be deleted.
        await monitor.refresh_credentials()
        job = self._jobs.get(request.uid, job)
        notes = notes_of(job)
        # From here on by what was written, not by what has been heard back of it: that may come late.
        attempt, failed = count_of(notes.get(ANNOTATION_ATTEMPT), MOST_ATTEMPTS) or 1, failures_of(job)
        number = slurm_number(notes)
        _, digest = await self._request(job)
        intent = {ANNOTATION_ATTEMPT: str(attempt), ANNOTATION_BACKEND: monitor.backend.name, ANNOTATION_DIGEST: digest}
        if not was_sent(job):
            self._sent_to[request.uid] = monitor.backend.name
        if any(notes.get(key) != value for key, value in intent.items()) or not job.get("status", {}).get("startTime"):
            await self._begin(job, intent)
        while True:
            if int(job.get("status", {}).get("failed") or 0) != failed:
                await self._kube.status(job, {"failed": failed, "active": 1, "ready": 0})
            async with monitor.slot():
                end = await self._attempt(job, request, monitor, attempt, number)
            if end.done:
                return end
            failed += 1
            tail = await self._tail(request, attempt)
            end = explained(end, tail)
            if not end.again or failed >= request.tries or attempt >= MOST_ATTEMPTS:
                lines = "".join(f"\n  {line}" for line in tail.splitlines()[-10:])
                message = f"{end.message}; its last lines:{lines}" if lines else end.message
                return End(done=False, reason=end.reason, message=message, again=end.again)
            await self._say(job, end.reason, f"attempt {attempt} {end.message}; it is tried again", warning=True)
            attempt, number = attempt + 1, None
            # One write says that an attempt has failed and the next is meant: none is counted twice, none left out.
            again = {ANNOTATION_ATTEMPT: str(attempt), ANNOTATION_FAILED: str(failed), ANNOTATION_SLURM: None}
            await self._kube.annotate(job, again)

    async def _begin(self, job: Object, intent: dict[str, str]) -> None:
        """Record the intent before anything is sent."""
        await self._kube.annotate(job, intent)
        started = job.get("status", {}).get("startTime") or now()
        conditions = [
            {**condition, "status": "False", "reason": "JobResumed", "lastTransitionTime": now()}
            if condition["type"] == "Suspended"
            else condition
            for condition in job.get("status", {}).get("conditions") or []
        ]
        await self._kube.status(job, {"startTime": started, "active": 1, "ready": 0, "conditions": conditions})

    async def _attempt(self, job: Object, request: Request, monitor: BackendMonitor, attempt: int, number: str | None) -> End:
        await monitor.refresh_credentials()
        if warning := monitor.secret.expiring():
            await self._say(job, "CredentialsExpire", warning, warning=True)
        if number is None:
            async with self._staging:
                await monitor.transport.bring(request, self._home)
            number = await monitor.transport.submit(request, attempt)
            await self._kube.annotate(job, {ANNOTATION_SLURM: number})
            await self._say(job, "Submitted", f"Slurm job {number or '(over already)'} on {monitor.backend.name}")
        return await self._until_over(job, request, monitor, attempt, number)

    async def _until_over(self, job: Object, request: Request, monitor: BackendMonitor, attempt: int, number: str) -> End:
        told = ""
        with monitor.following(request, attempt, number) as look:
            while True:
                seen = await look()
                await self._keep_output(request, monitor, attempt, seen)
                if seen.over:
                    return end_of(seen)
                if seen.state in WAITING and seen.why in NEVER:
                    await monitor.transport.cancel(request.uid, number)
                    return End(done=False, reason="Unsatisfiable", message=f"Slurm would never start it: {seen.why}", again=False)
                state = f"{seen.state} {seen.why}"
                if state != told:
                    told = state
                    await self._kube.status(job, {"active": 1, "ready": int(seen.state not in WAITING)})
                    if seen.state in WAITING and seen.why not in {"None", ""}:
                        await self._say(job, "Waiting", f"Slurm job {seen.slurm} waits: {seen.why}")
                    monitor.hurry()

    async def _keep_output(self, request: Request, monitor: BackendMonitor, attempt: int, seen: Seen) -> None:
        """Bring what was written since the last look into HOME; of very much, the beginning, and in the end the end."""
        if not seen.written:
            return
        kept = log_file(request.name, request.uid, attempt)
        have, wanted = await self._home.size(kept), min(seen.written, LOG_BYTES)
        while have < wanted:
            copied = await monitor.transport.output(request.uid, attempt, have, self._home, kept, have, wanted - have)
            if not copied:
                return
            have += copied
        note = LEFT_OUT.encode()
        if seen.written > LOG_BYTES and have < LOG_BYTES + len(note):
            await self._home.write_at(kept, LOG_BYTES, note)
        if seen.written > LOG_BYTES and seen.over:
            begin, at = max(LOG_BYTES, seen.written - LOG_END_BYTES), LOG_BYTES + len(note)
            while copied := await monitor.transport.output(
                request.uid, attempt, begin, self._home, kept, at, LOG_BYTES + len(note) + LOG_END_BYTES - at
            ):
                begin, at = begin + copied, at + copied

    async def _tail(self, request: Request, attempt: int) -> str:
        kept = log_file(request.name, request.uid, attempt)
        return readable((await self._home.tail(kept, TAIL_BYTES)).decode("utf-8", "replace").strip())

    async def _finish(self, job: Object, end: End) -> None:
        """The conditions Kubernetes has for jobs whose controller is another."""
        first, last = ("SuccessCriteriaMet", "Complete") if end.done else ("FailureTarget", "Failed")
        live = await self._kube.job(job["metadata"]["name"], job["metadata"]["uid"])
        if live is None:
            return
        status = live.get("status", {})
        kept = [c for c in status.get("conditions") or [] if c["type"] not in {first, last}]
        extra = {"reason": "BackoffLimitExceeded" if end.again and not end.done else end.reason or "Completed"}
        stamp = now()
        made = [
            {
                "type": kind,
                "status": "True",
                "lastTransitionTime": stamp,
                "lastProbeTime": stamp,
                "message": readable(end.message),
                **extra,
            }
            for kind in (first, last)
        ]
        done = {"completionTime": stamp, "succeeded": 1} if end.done else {"failed": failures_of(live) + 1}
        await self._kube.status(
            live, {"startTime": status.get("startTime") or stamp, "active": 0, "ready": 0, "conditions": [*kept, *made], **done}
        )
        said = "done" if end.done else (end.message.splitlines() or [""])[0]
        await self._say(job, "Completed" if end.done else end.reason, said, warning=not end.done)
        await self._tidy(live)

    # -- its end ---------------------------------------------------------------------------------------------------

    def _number(self, job: Object) -> str:
        """Slurm's number of the latest attempt, empty where there is none: a job may change the comment by which it is known."""
        return slurm_number(notes_of(self._jobs.get(job["metadata"]["uid"], job))) or ""

    async def _stop(self, job: Object) -> None:
        """Cancel in Slurm, and see it gone; nothing to do for a job that never got there."""
        uid, number = job["metadata"]["uid"], self._number(job)
        await self._where_it_is(job, lambda monitor: monitor.transport.cancel(uid, number))

    async def _suspend(self, job: Object) -> None:
        await self._stop(job)
        self._requests.pop(job["metadata"]["uid"], None)
        notes = notes_of(job)
        attempt = count_of(notes.get(ANNOTATION_ATTEMPT), MOST_ATTEMPTS)
        if attempt and notes.get(ANNOTATION_SLURM) is not None:
            following = str(min(attempt + 1, MOST_ATTEMPTS))
            await self._kube.annotate(job, {ANNOTATION_ATTEMPT: following, ANNOTATION_SLURM: None})
        condition = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
        kept = [c for c in job.get("status", {}).get("conditions") or [] if c["type"] != "Suspended"]
        await self._kube.status(
            job, {"active": 0, "ready": 0, "startTime": None, "conditions": [*kept, {**condition, "lastTransitionTime": now()}]}
        )

    async def _delete(self, job: Object) -> None:
        uid, number = job["metadata"]["uid"], self._number(job)

        async def leave(monitor: BackendMonitor) -> bool:
            known = await monitor.transport.cancel(uid, number)
            return await monitor.transport.forget(uid) or known

        await self._where_it_is(job, leave)
        await self._kube.release(job)

    async def _tidy(self, job: Object) -> None:
        """After the end: the working folder goes, and nothing holds the job back any longer, nor is kept of what it asked for."""
        self._requests.pop(job["metadata"]["uid"], None)
        await self._where_it_is(job, lambda monitor: monitor.transport.forget(job["metadata"]["uid"]))
        await self._kube.release(job)

    async def _where_it_is(self, job: Object, do: Callable[[BackendMonitor], Awaitable[bool]]) -> None:
        """Do something at the backend that has a job.

        That is the one this process has sent it to. After a restart only the Job says which, and whoever may edit it may write
        anything there: so that one is asked first, and every other too, unless it has seen the job.

        Args:
            do: says whether the backend has, or had, anything of the job.
        """
        uid = job["metadata"]["uid"]
        if not was_sent(job) and not was_sent(await self._kube.job(job["metadata"]["name"], uid) or job):
            return
        sent_to, named = self._sent_to.get(uid), notes_of(job).get(ANNOTATION_BACKEND)
        monitors = [monitor for name, monitor in self.monitors.items() if sent_to in {None, name}]
        for monitor in sorted(monitors, key=lambda monitor: monitor.backend.name != named):
            with monitor.in_use():
                await monitor.refresh_credentials()
                known = await do(monitor)
            monitor.hurry()
            if known and monitor.backend.name == named:
                return
