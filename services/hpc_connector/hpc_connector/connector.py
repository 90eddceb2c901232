"""Keeps Slurm in line with a namespace's HPC jobs, and the jobs' status in line with Slurm.

One task follows each job; one loop for each backend looks at all of its jobs at once. Every step can be repeated: what
was already done is found done, on the HPC machine itself, so that the connector may die anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from lightkube import ApiError

from hpc_connector.connection import Credentials
from hpc_connector.domain import (
    ANNOTATION_ATTEMPT,
    ANNOTATION_FAILED,
    ANNOTATION_JOB,
    ANNOTATION_SLURM,
    FINALIZER,
    MANAGER,
    NEVER,
    TAIL_BYTES,
    WAITING,
    Backend,
    End,
    Pace,
    RefusedError,
    Request,
    Seen,
    UnavailableError,
    end_of,
    explained,
    request_of,
)
from hpc_connector.files import Home
from hpc_connector.kube import Kube, Object
from hpc_connector.slurmrestd import RestAccount
from hpc_connector.ssh import Account

log = logging.getLogger("hpc_connector")
RETRY_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
FRESH_S = 20.0
"""How long after something happened to a job its end is looked for often."""
WARN_BEFORE = timedelta(hours=24)
CREDENTIALS_S = 15.0
STRANGERS_S = 60.0


class Desk:
    """One backend: its connection, the loop that looks at it, and what was seen last."""

    def __init__(self, kube: Kube, backend: Backend, owner: str, alive: Callable[[str], bool]) -> None:
        self.backend = backend
        self._kube = kube
        self._alive = alive
        self._credentials: Credentials | None = None
        self._version = ""
        self._read_at = -CREDENTIALS_S
        kind = RestAccount if backend.slurmrestd else Account
        self.account: Account | RestAccount = kind(backend, owner, self._known_credentials)
        self.slots = asyncio.Semaphore(backend.max_jobs)
        self.seen: dict[tuple[str, int], Seen] = {}
        self.looks = 0
        self.trouble: UnavailableError | None = None
        self.followed: dict[str, Request] = {}
        self._changed = asyncio.Condition()
        self._stirred = asyncio.Event()
        self._fresh_until = 0.0
        self._strangers: set[str] = set()

    def stir(self) -> None:
        """Something was submitted or cancelled: look soon, and often for a while."""
        self._fresh_until = time.monotonic() + FRESH_S
        self._stirred.set()

    async def look_forever(self) -> None:
        """Look at all jobs, for as long as there are any."""
        pace, failures = Pace(self.backend.poll_s), 0
        while True:
            if not self.followed:
                await self._wait(STRANGERS_S)
            try:
                await self.refresh_credentials()
                before, self.seen = self.seen, await self.account.look()
                self.looks, self.trouble, failures = self.looks + 1, None, 0
                await self._cancel_strangers()
                changed = before != self.seen or time.monotonic() < self._fresh_until
                if before.keys() != self.seen.keys():
                    self._fresh_until = time.monotonic() + self.backend.poll_s * 4
                pause = pace.next(changed=changed, ceiling_s=min((r.period_s for r in self.followed.values()), default=STRANGERS_S))
            except (UnavailableError, ApiError) as error:
                pause = RETRY_S[min(failures, len(RETRY_S) - 1)]
                failures += 1
                self.trouble = error if isinstance(error, UnavailableError) else UnavailableError("ApiServer", str(error))
                log.warning("backend %s: %s", self.backend.name, error)
            async with self._changed:
                self._changed.notify_all()
            await self._wait(pause)

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stirred.wait(), seconds)
            await asyncio.sleep(0)
        except TimeoutError:
            return
        finally:
            self._stirred.clear()

    async def next_look(self) -> None:
        """Return after the next look, whether it succeeded or not."""
        async with self._changed:
            await self._changed.wait()

    async def refresh_credentials(self) -> None:
        """Read the Secret now and then; a renewed one is used for a new connection at once."""
        if time.monotonic() - self._read_at < CREDENTIALS_S and self._credentials and not self.trouble:
            return
        found, version = await self._kube.credentials(self.backend.name)
        self._read_at = time.monotonic()
        if version != self._version:
            self._credentials, self._version = found, version
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

    async def _cancel_strangers(self) -> None:
        """End what is in Slurm for jobs that no longer exist: seen twice, since a job may be newer than what is known here."""
        found = {uid for (uid, _), seen in self.seen.items() if seen.slurm and not seen.over and not self._alive(uid)}
        for uid in found & self._strangers:
            log.warning("cancelling %s, whose job is gone", uid)
            await self.account.cancel(uid)
            await self.account.forget(uid)
        self._strangers = found


class Connector:
    """The jobs of one namespace.

    Args:
        home: HOME/private of the namespace.
        backends: names of the backends the VO may use.
    """

    def __init__(self, kube: Kube, home: Home, backends: list[str], on_turn: Callable[[], None]) -> None:
        self._kube = kube
        self._home = home
        self._names = backends
        self._on_turn = on_turn
        self._owner = ""
        self.desks: dict[str, Desk] = {}
        self._jobs: dict[str, Object] = {}
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._loops: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Follow the namespace's jobs until cancelled."""
        failures = 0
        while True:
            try:
                self._owner = self._owner or await self._kube.owner()
                async for change, jobs in self._kube.changes():
                    failures = 0
                    self._on_turn()
                    self._take(change, jobs)
            except Exception as error:  # noqa: BLE001  # the API server may be away for long; nothing is done meanwhile
                failures += 1
                log.warning("cannot follow the jobs: %s", error)
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S)) - 1])

    def _take(self, change: str, jobs: list[Object]) -> None:
        mine = {job["metadata"]["uid"]: job for job in jobs if job["spec"].get("managedBy") == MANAGER}
        if change == "ALL":
            gone = set(self._jobs) - set(mine)
            self._jobs = dict(mine)
        elif change == "DELETED":
            gone = set(mine)
        else:
            gone = set()
            self._jobs.update(mine)
        for uid in gone:
            self._jobs.pop(uid, None)
            self._end_task(uid)
        for uid in self._jobs.keys() & mine.keys():
            self._assign(uid)

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
            "run": self._follow, "suspend": self._suspend, "delete": self._delete, "tidy": self._tidy,
        }  # fmt: skip
        if purpose in steps:
            self._tasks[uid] = (purpose, asyncio.create_task(self._persist(job, steps[purpose])))

    def _end_task(self, uid: str) -> None:
        _, task = self._tasks.pop(uid, ("", None))
        if task:
            task.cancel()
        for desk in self.desks.values():
            desk.followed.pop(uid, None)

    async def _persist(self, job: Object, step: Callable[[Object], Awaitable[None]]) -> None:
        """Do a step until it is done; what may pass is waited for, and said."""
        failures = 0
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
            except Exception as error:
                log.exception("job %s", job["metadata"]["name"])
                reason, message = "ConnectorFailed", f"{type(error).__name__}: {error}"
            log.warning("job %s: %s: %s", job["metadata"]["name"], reason, message)
            await self._say(job, reason, message, warning=True)
            await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
            failures += 1

    async def _say(self, job: Object, reason: str, message: str, *, warning: bool = False) -> None:
        try:
            await self._kube.event(job, reason, message, warning=warning)
        except Exception as error:  # noqa: BLE001  # an event that cannot be written must not stop the job
            log.warning("cannot write an event: %s", error)

    async def _desk(self, host: str) -> Desk:
        backend = await self._kube.backend(host, self._names)
        desk = self.desks.get(backend.name)
        if desk is None:
            desk = self.desks[backend.name] = Desk(self._kube, backend, self._owner, lambda uid: uid in self._jobs)
            self._loops.append(asyncio.create_task(desk.look_forever()))
        return desk

    async def _request(self, job: Object) -> Request:
        # In the template, which cannot be changed: another script is another job.
        name = (job["spec"]["template"].get("metadata", {}).get("annotations") or {}).get(ANNOTATION_JOB)
        if not name:
            raise RefusedError("Unfit", f"the pod template's annotation {ANNOTATION_JOB} must name the config map with the script")
        return request_of(job, await self._kube.config_map(name))

    # -- a job's life ----------------------------------------------------------------------------------------------

    async def _follow(self, job: Object) -> None:
        request = None
        try:
            request = await self._request(job)
            desk = await self._desk(request.host)
            remaining = deadline_s(job)
            async with asyncio.timeout(remaining):
                end = await self._attempts(job, request, desk)
        except RefusedError as error:
            end = End(done=False, reason=error.reason, message=str(error), again=False)
        except TimeoutError:
            await self._stop(job, request)
            end = End(
                done=False,
                reason="DeadlineExceeded",
                message=f"not done within {job['spec'].get('activeDeadlineSeconds')} s",
                again=False,
            )
        await self._finish(job, end)

    async def _attempts(self, job: Object, request: Request, desk: Desk) -> End:
        """Try until one attempt succeeds or there are no tries left."""
        job = self._jobs.get(request.uid, job)
        notes = job["metadata"].get("annotations") or {}
        # From here on by what was written, not by what has been heard back of it: that may come late.
        attempt, failed = max(int(notes.get(ANNOTATION_ATTEMPT, 0)), 1), _failed(job)
        number = notes.get(ANNOTATION_SLURM)
        if ANNOTATION_ATTEMPT not in notes or not job.get("status", {}).get("startTime"):
            await self._begin(job, attempt)
        while True:
            if int(job.get("status", {}).get("failed") or 0) != failed:
                await self._kube.status(job, {"failed": failed, "active": 1, "ready": 0})
            async with desk.slots:
                end = await self._attempt(job, request, desk, attempt, number)
            if end.done:
                await desk.account.fetch(request, self._home)
                return end
            failed += 1
            tail = await self._tail(request, attempt)
            end = explained(end, tail)
            if not end.again or failed >= request.tries:
                lines = "".join(f"\n  {line}" for line in tail.splitlines()[-10:])
                message = f"{end.message}; its last lines:{lines}" if lines else end.message
                return End(done=False, reason=end.reason, message=message, again=end.again)
            await self._say(job, end.reason, f"attempt {attempt} {end.message}; it is tried again", warning=True)
            attempt, number = attempt + 1, None
            # One write says that an attempt has failed and the next is meant: none is counted twice, none left out.
            notes = {ANNOTATION_ATTEMPT: str(attempt), ANNOTATION_FAILED: str(failed), ANNOTATION_SLURM: None}
            await self._kube.annotate(job, notes)

    async def _begin(self, job: Object, attempt: int) -> None:
        """Record the intent before anything is sent."""
        await self._kube.annotate(job, {ANNOTATION_ATTEMPT: str(attempt)})
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
        desk.followed[request.uid] = request
        desk.stir()
        try:
            return await self._until_over(job, request, desk, attempt)
        finally:
            desk.followed.pop(request.uid, None)

    async def _until_over(self, job: Object, request: Request, desk: Desk, attempt: int) -> End:
        told, looks = "", desk.looks
        while True:
            await desk.next_look()
            if desk.trouble:
                raise desk.trouble
            if desk.looks <= looks:
                continue
            seen = desk.seen.get((request.uid, attempt), Seen())
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
        """Bring what was written since the last look into HOME."""
        if not seen.written:
            return
        path = self._home.log(request.name, request.uid, attempt)
        await asyncio.to_thread(self._home.make_folder, path.parent)
        have = path.stat().st_size if path.exists() else 0
        while have < seen.written:
            data = await desk.account.output(request.uid, attempt, have)
            if not data:
                return
            await asyncio.to_thread(self._home.write_at, path, have, data)
            have += len(data)

    async def _tail(self, request: Request, attempt: int) -> str:
        try:
            whole = await asyncio.to_thread(self._home.log(request.name, request.uid, attempt).read_bytes)
        except OSError:
            return ""
        return whole[-TAIL_BYTES:].decode("utf-8", "replace").strip()

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
                "message": end.message[:30000],
                **extra,
            }
            for kind in (first, last)
        ]
        done = {"completionTime": stamp, "succeeded": 1} if end.done else {"failed": _failed(live) + 1}
        await self._kube.status(
            live, {"startTime": status.get("startTime") or stamp, "active": 0, "ready": 0, "conditions": [*kept, *made], **done}
        )
        await self._say(
            job, "Completed" if end.done else end.reason, "done" if end.done else end.message.splitlines()[0], warning=not end.done
        )
        await self._tidy(live)

    # -- its end ---------------------------------------------------------------------------------------------------

    async def _stop(self, job: Object, request: Request | None = None) -> None:
        """Cancel in Slurm, and see it gone; nothing to do for a job that never got there."""
        if FINALIZER not in (job["metadata"].get("finalizers") or []) and ANNOTATION_ATTEMPT not in (
            job["metadata"].get("annotations") or {}
        ):
            job = await self._kube.job(job["metadata"]["name"], job["metadata"]["uid"]) or job
            if ANNOTATION_ATTEMPT not in (job["metadata"].get("annotations") or {}):
                return
        for desk in await self._desks(job, request):
            await desk.refresh_credentials()
            await desk.account.cancel(job["metadata"]["uid"])
            desk.stir()

    async def _suspend(self, job: Object) -> None:
        await self._stop(job)
        notes = job["metadata"].get("annotations") or {}
        if ANNOTATION_ATTEMPT in notes:
            following = str(int(notes[ANNOTATION_ATTEMPT]) + 1)
            if notes.get(ANNOTATION_SLURM) is not None:
                await self._kube.annotate(job, {ANNOTATION_ATTEMPT: following, ANNOTATION_SLURM: None})
        condition = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
        kept = [c for c in job.get("status", {}).get("conditions") or [] if c["type"] != "Suspended"]
        await self._kube.status(
            job, {"active": 0, "ready": 0, "startTime": None, "conditions": [*kept, {**condition, "lastTransitionTime": now()}]}
        )

    async def _delete(self, job: Object) -> None:
        await self._stop(job)
        await self._forget(job)
        await self._kube.release(job)

    async def _tidy(self, job: Object) -> None:
        """After the end: the working folder goes, and nothing holds the job back any longer."""
        await self._forget(job)
        await self._kube.release(job)

    async def _forget(self, job: Object) -> None:
        if ANNOTATION_ATTEMPT not in (job["metadata"].get("annotations") or {}):
            return
        for desk in await self._desks(job):
            await desk.refresh_credentials()
            await desk.account.forget(job["metadata"]["uid"])

    async def _desks(self, job: Object, request: Request | None = None) -> list[Desk]:
        """The job's; all that are known where its config map is gone, and nothing says any more which that is."""
        try:
            return [await self._desk((request or await self._request(job)).host)]
        except RefusedError:
            return list(self.desks.values())


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


def _failed(job: Object) -> int:
    """Attempts that have failed; the status only repeats it, since it cannot be written together with the attempt's number."""
    return int((job["metadata"].get("annotations") or {}).get(ANNOTATION_FAILED, 0))
