"""Keeps Slurm in line with a namespace's HPC jobs, and the jobs' status in line with Slurm.

One task follows each job; one loop for each backend looks at all of its jobs at once. Every step can be repeated: what
was already done is found done, on the HPC machine itself, so that the connector may die anywhere. What one job asks for, writes
or leaves behind ends at most that job; a loop that ends by an error ends the process, which Kubernetes starts again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lightkube import ApiError

from hpc_connector.connection import Credentials
from hpc_connector.domain import (
    ANNOTATION_ATTEMPT,
    ANNOTATION_BACKEND,
    ANNOTATION_DIGEST,
    ANNOTATION_FAILED,
    ANNOTATION_JOB,
    ANNOTATION_SLURM,
    FINALIZER,
    MANAGER,
    MOST_ATTEMPTS,
    NEVER,
    REQUEST_BYTES,
    TAIL_BYTES,
    TOO_LONG,
    WAITING,
    Backend,
    End,
    Pace,
    RefusedError,
    Request,
    Seen,
    UnavailableError,
    backend_for,
    count_of,
    digest_of,
    end_of,
    explained,
    readable,
    request_of,
)
from hpc_connector.files import Home
from hpc_connector.kube import Kube, Object
from hpc_connector.pulse import Pulse
from hpc_connector.slurmrestd import RestAccount
from hpc_connector.ssh import Account

log = logging.getLogger("hpc_connector")
RETRY_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
FRESH_S = 20.0
"""How long after something happened to a job its end is looked for often."""
WARN_BEFORE = timedelta(hours=24)
CREDENTIALS_S = 15.0
LIST_S = 60.0
"""For listing a namespace's jobs, and asking who it is."""
LOOK_S = 120.0
"""For one look; longer than its one command and a new connection may take together."""
SWEEPS = 10
"""Jobs of nobody's that are cancelled at a time."""
LOG_BYTES = 64 << 20
"""Of an attempt's output that is kept in HOME, from its beginning: more than anybody reads, and HOME is everybody's."""
LOG_END_BYTES = 64 << 10
"""Of a longer one, what is kept of its end, where the reason of a failure stands."""
LEFT_OUT = (
    f"\n[of an attempt's output the first {LOG_BYTES >> 20} MiB and the last {LOG_END_BYTES >> 10} KiB are kept; "
    "what was between is left out; write it to a file and name that among the outputs]\n"
)
MOST_ODD = 10
"""How often one job may fail in a way nobody thought of, in about three minutes, before it is given up."""
UNFIT_ANSWERS = frozenset({400, 413, 422})
"""Of the API server, to a request that will not be better the next time."""


@dataclass(frozen=True)
class Periods:
    """How long the connector waits for what, seconds; tests shorten them.

    Attributes:
        watch_s: after which the watch of the jobs is begun anew, with a list of all.
        idle_s: between two looks at a backend where no job is.
        beat_s: between two signs of life.
        grace_s: how much later than it said a loop may turn before that is no life.
    """

    watch_s: float = 290.0
    idle_s: float = 300.0
    beat_s: float = 10.0
    grace_s: float = 30.0


class Desk:
    """One backend: its connection, the loop that looks at it, and what was seen last.

    Args:
        wanted: whether there is a Job of that uid whose Slurm jobs may live.
        spawn: starts a task that is watched.

    Attributes:
        begun, looks: numbers of the look that was begun last, and of the one that succeeded last.
        followed: the attempts that are looked at, by Job.
    """

    def __init__(
        self,
        kube: Kube,
        backend: Backend,
        owner: str,
        *,
        wanted: Callable[[str], bool],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        pulse: Pulse,
        idle_s: float,
    ) -> None:
        self.backend = backend
        self._kube = kube
        self._wanted = wanted
        self._spawn = spawn
        self._pulse = pulse
        self._idle_s = idle_s
        self._credentials: Credentials | None = None
        self._version = ""
        self._read_at = -CREDENTIALS_S
        kind = RestAccount if backend.slurmrestd else Account
        self.account: Account | RestAccount = kind(backend, owner, self._known_credentials)
        self.slots = asyncio.Semaphore(backend.max_jobs)
        self.seen: dict[tuple[str, int], Seen] = {}
        self.begun = 0
        self.looks = 0
        self.trouble: UnavailableError | None = None
        self.followed: dict[str, tuple[Request, int]] = {}
        self._users = 0
        self._changed = asyncio.Condition()
        self._stirred = asyncio.Event()
        self._fresh_until = 0.0
        self._strangers: set[str] = set()
        self._sweeping: set[str] = set()

    def stir(self) -> None:
        """Something was submitted or cancelled: look soon, and often for a while."""
        self._fresh_until = time.monotonic() + FRESH_S
        self._stirred.set()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Somebody needs the connection, which is closed otherwise between two looks at nothing."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    async def look_forever(self) -> None:
        """Look at all jobs, often while there are any."""
        pace, failures, loop = Pace(self.backend.poll_s), 0, f"looks at {self.backend.name}"
        while True:
            self._pulse.expect(loop, LOOK_S)
            try:
                changed = await self._look()
                pause, failures = await self._pause(pace, changed=changed), 0
            except (UnavailableError, ApiError) as error:
                pause = RETRY_S[min(failures, len(RETRY_S) - 1)] if self.followed else self._idle_s
                failures += 1
                self._tell(error)
            async with self._changed:
                self._changed.notify_all()
            self._pulse.expect(loop, pause)
            await self._wait(pause)

    async def _look(self) -> bool:
        """Whether there is something new."""
        try:
            async with asyncio.timeout(LOOK_S):
                await self.refresh_credentials()
                self.begun += 1
                attempts = [(uid, attempt) for uid, (_, attempt) in self.followed.items()]
                before, self.seen = self.seen, await self.account.look(attempts)
        except TimeoutError as error:
            await self.account.close()
            raise UnavailableError("HpcUnavailable", f"{self.backend.name} does not answer within {LOOK_S:.0f} s") from error
        self.looks, self.trouble = self.begun, None
        self._sweep_strangers()
        if before.keys() != self.seen.keys():
            self._fresh_until = time.monotonic() + self.backend.poll_s * 4
        return before != self.seen or time.monotonic() < self._fresh_until

    async def _pause(self, pace: Pace, *, changed: bool) -> float:
        if self._strangers:
            return pace.next(changed=True, ceiling_s=self._idle_s)
        if not self.followed:
            if not self._users and not self._sweeping:
                await self.account.close()
            return self._idle_s
        return pace.next(changed=changed, ceiling_s=min(request.period_s for request, _ in self.followed.values()))

    def _tell(self, error: UnavailableError | ApiError) -> None:
        """What keeps jobs waiting; said to the log when it is new."""
        told = self.trouble
        self.trouble = error if isinstance(error, UnavailableError) else UnavailableError("ApiServer", str(error))
        if told is None or str(told) != str(self.trouble):
            log.warning("backend %s: %s", self.backend.name, readable(str(error), 500))

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stirred.wait(), seconds)
            await asyncio.sleep(0)
        except TimeoutError:
            return
        finally:
            self._stirred.clear()

    async def see(self, request: Request, attempt: int) -> Seen:
        """What the next look shows of an attempt, of those that begin from now on; raises what keeps it from looking."""
        self.followed[request.uid] = (request, attempt)
        since = self.begun
        while self.looks <= since:
            async with self._changed:
                await self._changed.wait()
            if self.trouble:
                raise self.trouble
        return self.seen.get((request.uid, attempt), Seen())

    async def refresh_credentials(self) -> None:
        """Read the Secret now and then; a renewed one is used for a new connection at once."""
        if time.monotonic() - self._read_at < CREDENTIALS_S and self._credentials and not self.trouble:
            return
        found = await self._kube.credentials(self.backend.name, self._version)
        self._read_at = time.monotonic()
        if found:
            self._credentials, self._version = found
            await self.account.close()

    def _known_credentials(self) -> Credentials:
        if self._credentials is None:
            raise UnavailableError("CredentialsMissing", f"the Secret backend-{self.backend.name} was not read yet")
        return self._credentials

    def expiring(self) -> str:
        """A sentence when the credentials end within a day."""
        end = self._credentials.expires() if self._credentials else None
        if end is None or end - datetime.now(UTC) > WARN_BEFORE:
            return ""
        when = f"{end:%Y-%m-%d %H:%M} UTC"
        over = end < datetime.now(UTC)
        said = f"the credentials for {self.backend.name} {'ended' if over else 'end'} at {when}"
        return f"{said}; an operator renews them with `primage hpc login`"

    def _sweep_strangers(self) -> None:
        """End what is in Slurm for jobs that no longer exist: seen twice, since a job may be newer than what is known here."""
        found = {uid for (uid, _), seen in self.seen.items() if seen.slurm and not seen.over and not self._wanted(uid)}
        for uid in sorted(found & self._strangers - self._sweeping)[: SWEEPS - len(self._sweeping)]:
            self._sweeping.add(uid)
            self._spawn(self._sweep(uid))
        self._strangers = found

    async def _sweep(self, uid: str) -> None:
        """Beside the looks: a job that does not end must not keep anybody from seeing theirs."""
        log.warning("cancelling %s, whose job is gone", uid)
        try:
            await self.account.cancel(uid)
            await self.account.forget(uid)
        except (UnavailableError, RefusedError) as error:
            log.warning("cannot cancel %s: %s", uid, readable(str(error), 500))
        finally:
            self._sweeping.discard(uid)


class Connector:
    """The jobs of one namespace.

    Args:
        home: HOME/private of the namespace.
        backends: those the VO may use, as the site describes them.
        touch: called as long as all loops turn.
    """

    def __init__(
        self, kube: Kube, home: Home, backends: Sequence[Backend], touch: Callable[[], None], periods: Periods | None = None
    ) -> None:
        self._kube = kube
        self._home = home
        self._backends = tuple(backends)
        self._periods = periods or Periods()
        self._pulse = Pulse(touch, self._periods.beat_s, self._periods.grace_s)
        self._owner = ""
        self.desks: dict[str, Desk] = {}
        self._jobs: dict[str, Object] = {}
        self._requests: dict[str, tuple[Request, str]] = {}
        self._sent_to: dict[str, str] = {}
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Follow the namespace's jobs until cancelled; an error in any loop ends all of them."""
        async with self._group as group:
            group.create_task(self._pulse.beat_forever())
            group.create_task(self._follow_all())

    async def _follow_all(self) -> None:
        failures = 0
        while True:
            self._pulse.expect("watch", self._periods.watch_s + LIST_S)
            try:
                self._owner = self._owner or await self._kube.owner()
                async for change, jobs in self._kube.changes(self._periods.watch_s):
                    failures = 0
                    self._take(change, jobs)
            except (UnavailableError, ApiError) as error:
                failures += 1
                log.warning("cannot follow the jobs: %s", error)
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S)) - 1])

    def _take(self, change: str, jobs: list[Object]) -> None:
        mine = {job["metadata"]["uid"]: job for job in jobs if job["spec"].get("managedBy") == MANAGER}
        if change == "ALL":
            gone = set(self._jobs) - set(mine)
            self._jobs = dict(mine)
            self._open_desks()
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
        for uid in self._jobs.keys() & mine.keys():
            self._assign(uid)

    def _open_desks(self) -> None:
        """One for each backend, jobs or not, once it is known which jobs there are: whatever is there of others is ended."""
        for backend in self._backends:
            if backend.name not in self.desks:
                desk = self.desks[backend.name] = Desk(
                    self._kube,
                    backend,
                    self._owner,
                    wanted=self._wanted,
                    spawn=self._group.create_task,
                    pulse=self._pulse,
                    idle_s=self._periods.idle_s,
                )
                self._group.create_task(desk.look_forever())

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
        for desk in self.desks.values():
            desk.followed.pop(uid, None)

    async def _persist(self, job: Object, step: Callable[[Object], Awaitable[None]]) -> None:
        """Do a step until it is done; what may pass is waited for, and said; what nobody thought of ends the job, and only it."""
        failures = odd = 0
        while True:
            try:
                await step(self._jobs.get(job["metadata"]["uid"], job))
                return
            except UnavailableError as error:
                reason, message = error.reason, str(error)
            except ApiError as error:
                reason, message = "ApiServer", str(error)
                if error.status.code == 404:
                    return
                odd += error.status.code in UNFIT_ANSWERS
            except (Exception, asyncio.CancelledError) as error:
                current = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and current and current.cancelling():
                    raise  # somebody ended this task; otherwise what it waited for was, and that is a failure like another
                log.exception("job %s", job["metadata"]["name"])
                reason, message = "ConnectorFailed", f"{type(error).__name__}: {error}"
                odd += 1
            message = readable(message)
            log.warning("job %s: %s: %s", job["metadata"]["name"], reason, message)
            await self._say(job, reason, message, warning=True)
            if odd >= MOST_ODD and step == self._follow:
                step = self._give_up
            await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
            failures += 1

    async def _give_up(self, job: Object) -> None:
        await self._stop(job)
        message = "the connector failed at this job again and again, see its events; an operator finds more in the connector's log"
        await self._finish(job, End(done=False, reason="ConnectorFailed", message=message, again=False))

    async def _say(self, job: Object, reason: str, message: str, *, warning: bool = False) -> None:
        try:
            await self._kube.event(job, reason, message, warning=warning)
        except Exception as error:  # noqa: BLE001  # an event that cannot be written must not stop the job
            log.warning("cannot write an event: %s", error)

    async def _request(self, job: Object) -> tuple[Request, str]:
        """What the job asks for, and the digest of that: read once, and after a restart only as it was."""
        uid = job["metadata"]["uid"]
        if uid not in self._requests:
            if job["spec"].get(TOO_LONG):
                raise RefusedError("Unfit", f"the Job is longer than {REQUEST_BYTES >> 10} KiB; keep what it needs in HOME")
            # In the template, which cannot be changed: another script is another job.
            template = job["spec"]["template"].get("metadata", {}).get("annotations") or {}
            name = template.get(ANNOTATION_JOB)
            if not name:
                words = f"the pod template's annotation {ANNOTATION_JOB} must name the config map with the script"
                raise RefusedError("Unfit", words)
            data = await self._kube.config_map(name)
            meant = template.get(ANNOTATION_DIGEST) or _notes(job).get(ANNOTATION_DIGEST)
            if meant and meant != digest_of(data):
                words = f"config map {name} is not what it was when the job was made; make another job for another script"
                raise RefusedError("ScriptChanged", words)
            self._requests[uid] = request_of(job, data), digest_of(data)
        return self._requests[uid]

    # -- a job's life ----------------------------------------------------------------------------------------------

    async def _follow(self, job: Object) -> None:
        try:
            request, _ = await self._request(job)
            desk = self.desks[backend_for(request.host, self._backends).name]
            with desk.in_use():
                end = await self._in_time(job, request, desk)
                if end.done:
                    await desk.account.fetch(request, self._home)
        except RefusedError as error:
            await self._stop(job)
            end = End(done=False, reason=error.reason, message=str(error), again=False)
        await self._finish(job, end)

    async def _in_time(self, job: Object, request: Request, desk: Desk) -> End:
        """The job's attempts, within its deadline; bringing its outputs home may take longer."""
        limit = asyncio.timeout(deadline_s(job))
        try:
            async with limit:
                return await self._attempts(job, request, desk)
        except TimeoutError:
            if not limit.expired():
                raise
        if await self._ended_well(job, request, desk):
            return End(done=True)
        await self._stop(job)
        message = f"not done within {job['spec'].get('activeDeadlineSeconds')} s"
        return End(done=False, reason="DeadlineExceeded", message=message, again=False)

    async def _ended_well(self, job: Object, request: Request, desk: Desk) -> bool:
        """Whether the attempt that was under way at the deadline had ended by then: what it made is not thrown away."""
        live = await self._kube.job(request.name, request.uid) or job
        attempt = count_of(_notes(live).get(ANNOTATION_ATTEMPT), MOST_ATTEMPTS)
        if not attempt:
            return False
        desk.stir()
        try:
            seen = await desk.see(request, attempt)
        finally:
            desk.followed.pop(request.uid, None)
        return seen.over and end_of(seen).done

    async def _attempts(self, job: Object, request: Request, desk: Desk) -> End:
        """Try until one attempt succeeds or there are no tries left."""
        # Before the intent: a job that could never be sent anywhere needs nobody's leave to be deleted.
        await desk.refresh_credentials()
        job = self._jobs.get(request.uid, job)
        notes = _notes(job)
        # From here on by what was written, not by what has been heard back of it: that may come late.
        attempt, failed = count_of(notes.get(ANNOTATION_ATTEMPT), MOST_ATTEMPTS) or 1, _failed(job)
        number = _number(notes)
        _, digest = await self._request(job)
        intent = {ANNOTATION_ATTEMPT: str(attempt), ANNOTATION_BACKEND: desk.backend.name, ANNOTATION_DIGEST: digest}
        if not _sent(job):
            self._sent_to[request.uid] = desk.backend.name
        if any(notes.get(key) != value for key, value in intent.items()) or not job.get("status", {}).get("startTime"):
            await self._begin(job, intent)
        while True:
            if int(job.get("status", {}).get("failed") or 0) != failed:
                await self._kube.status(job, {"failed": failed, "active": 1, "ready": 0})
            async with desk.slots:
                end = await self._attempt(job, request, desk, attempt, number)
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

    async def _attempt(self, job: Object, request: Request, desk: Desk, attempt: int, number: str | None) -> End:
        await desk.refresh_credentials()
        if warning := desk.expiring():
            await self._say(job, "CredentialsExpire", warning, warning=True)
        if number is None:
            await desk.account.bring(request, self._home)
            number = await desk.account.submit(request, attempt)
            await self._kube.annotate(job, {ANNOTATION_SLURM: number})
            await self._say(job, "Submitted", f"Slurm job {number or '(over already)'} on {desk.backend.name}")
        try:
            return await self._until_over(job, request, desk, attempt)
        finally:
            desk.followed.pop(request.uid, None)

    async def _until_over(self, job: Object, request: Request, desk: Desk, attempt: int) -> End:
        told = ""
        desk.stir()
        while True:
            seen = await desk.see(request, attempt)
            await self._keep_output(request, desk, attempt, seen)
            if seen.over:
                return end_of(seen)
            if seen.state in WAITING and seen.why in NEVER:
                await desk.account.cancel(request.uid)
                return End(done=False, reason="Unsatisfiable", message=f"Slurm would never start it: {seen.why}", again=False)
            state = f"{seen.state} {seen.why}"
            if state != told:
                told = state
                await self._kube.status(job, {"active": 1, "ready": int(seen.state not in WAITING)})
                if seen.state in WAITING and seen.why not in {"None", ""}:
                    await self._say(job, "Waiting", f"Slurm job {seen.slurm} waits: {seen.why}")
                desk.stir()

    async def _keep_output(self, request: Request, desk: Desk, attempt: int, seen: Seen) -> None:
        """Bring what was written since the last look into HOME; of very much, the beginning, and in the end the end."""
        if not seen.written:
            return
        log_file = self._home.log(request.name, request.uid, attempt)
        have, wanted = await asyncio.to_thread(self._home.size, log_file), min(seen.written, LOG_BYTES)
        while have < wanted:
            copied = await desk.account.output(request.uid, attempt, have, self._home, log_file, have, wanted - have)
            if not copied:
                return
            have += copied
        note = LEFT_OUT.encode()
        if seen.written > LOG_BYTES and have < LOG_BYTES + len(note):
            await asyncio.to_thread(self._home.write_at, log_file, LOG_BYTES, note)
        if seen.written > LOG_BYTES and seen.over:
            begin, at = max(LOG_BYTES, seen.written - LOG_END_BYTES), LOG_BYTES + len(note)
            while copied := await desk.account.output(
                request.uid, attempt, begin, self._home, log_file, at, LOG_BYTES + len(note) + LOG_END_BYTES - at
            ):
                begin, at = begin + copied, at + copied

    async def _tail(self, request: Request, attempt: int) -> str:
        log_file = self._home.log(request.name, request.uid, attempt)
        return readable((await asyncio.to_thread(self._home.tail, log_file, TAIL_BYTES)).decode("utf-8", "replace").strip())

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
        done = {"completionTime": stamp, "succeeded": 1} if end.done else {"failed": _failed(live) + 1}
        await self._kube.status(
            live, {"startTime": status.get("startTime") or stamp, "active": 0, "ready": 0, "conditions": [*kept, *made], **done}
        )
        said = "done" if end.done else (end.message.splitlines() or [""])[0]
        await self._say(job, "Completed" if end.done else end.reason, said, warning=not end.done)
        await self._tidy(live)

    # -- its end ---------------------------------------------------------------------------------------------------

    async def _stop(self, job: Object) -> None:
        """Cancel in Slurm, and see it gone; nothing to do for a job that never got there."""
        await self._where_it_is(job, lambda desk: desk.account.cancel(job["metadata"]["uid"]))

    async def _suspend(self, job: Object) -> None:
        await self._stop(job)
        self._requests.pop(job["metadata"]["uid"], None)
        notes = _notes(job)
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
        uid = job["metadata"]["uid"]

        async def leave(desk: Desk) -> bool:
            known = await desk.account.cancel(uid)
            return await desk.account.forget(uid) or known

        await self._where_it_is(job, leave)
        await self._kube.release(job)

    async def _tidy(self, job: Object) -> None:
        """After the end: the working folder goes, and nothing holds the job back any longer."""
        await self._where_it_is(job, lambda desk: desk.account.forget(job["metadata"]["uid"]))
        await self._kube.release(job)

    async def _where_it_is(self, job: Object, do: Callable[[Desk], Awaitable[bool]]) -> None:
        """Do something at the backend that has a job.

        That is the one this process has sent it to. After a restart only the Job says which, and whoever may edit it may write
        anything there: so that one is asked first, and every other too, unless it has seen the job.

        Args:
            do: says whether the backend has, or had, anything of the job.
        """
        uid = job["metadata"]["uid"]
        if not _sent(job) and not _sent(await self._kube.job(job["metadata"]["name"], uid) or job):
            return
        sent_to, named = self._sent_to.get(uid), _notes(job).get(ANNOTATION_BACKEND)
        desks = [desk for name, desk in self.desks.items() if sent_to in {None, name}]
        for desk in sorted(desks, key=lambda desk: desk.backend.name != named):
            with desk.in_use():
                await desk.refresh_credentials()
                known = await do(desk)
            desk.stir()
            if known and desk.backend.name == named:
                return


def wish(job: Object) -> str:
    """What a job wants done: run, suspend, delete, tidy, or nothing."""
    held = FINALIZER in (job["metadata"].get("finalizers") or [])
    over = any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in job.get("status", {}).get("conditions") or [])
    if over:
        return "tidy" if held else ""
    if job["metadata"].get("deletionTimestamp"):
        return "delete" if held else ""
    if job["spec"].get("suspend"):
        suspended = any(c["type"] == "Suspended" and c["status"] == "True" for c in job.get("status", {}).get("conditions") or [])
        return "" if suspended else "suspend"
    return "run"


def deadline_s(job: Object) -> float | None:
    """Seconds that are left of the job's deadline."""
    allowed = job["spec"].get("activeDeadlineSeconds")
    if not allowed:
        return None
    started = job.get("status", {}).get("startTime")
    spent = (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds() if started else 0.0
    return float(allowed) - min(max(0.0, spent), float(allowed))  # no clock that is ahead makes it longer than asked


def now() -> str:
    """The time, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _notes(job: Object) -> dict[str, str]:
    """The Job's annotations, which everybody who may edit it writes."""
    return job["metadata"].get("annotations") or {}


def _sent(job: Object) -> bool:
    """Whether anything of it may have been sent anywhere, as far as the Job tells."""
    return FINALIZER in (job["metadata"].get("finalizers") or []) or ANNOTATION_ATTEMPT in _notes(job)


def _number(notes: dict[str, str]) -> str | None:
    """Slurm's number, empty where it is not known any more; None where the attempt is still to be submitted."""
    number = notes.get(ANNOTATION_SLURM)
    return number if number == "" or count_of(number, 2**32) is not None else None


def _failed(job: Object) -> int:
    """Attempts that have failed; the status only repeats it, since it cannot be written together with the attempt's number."""
    return count_of(_notes(job).get(ANNOTATION_FAILED), MOST_ATTEMPTS) or 0
