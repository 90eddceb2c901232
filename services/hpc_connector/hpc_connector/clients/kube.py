"""Everything that is said to Kubernetes: jobs and their status, events, backends and their credentials."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.batch_v1 import Job, JobStatus
from lightkube.resources.core_v1 import ConfigMap, Event, Namespace, Secret
from lightkube.types import PatchType

from hpc_connector.clients.credentials import Credentials
from hpc_connector.clients.shares import Shares
from hpc_connector.domain.errors import RefusedError, RejectedError, UnavailableError
from hpc_connector.domain.job import Object
from hpc_connector.domain.request import slim
from hpc_connector.domain.tenant import Tenant
from hpc_connector.domain.text import readable
from primage.contract.hpc import FINALIZER, backend_object

COMPONENT = "hpc-connector"
REPEAT_S = 300
MESSAGE = 1000
PAGE = 20
"""Jobs in one answer: each may be as long as 1.5 MB, and only a part of it is kept."""
QUESTIONS = 8
"""Of one namespace at a time."""
KEPT_CONNECTIONS = 20
WAITS = 3.0
"""For so many times as long as a change took to read, no other of the namespace is read: others' are to be read too."""
Member = create_namespaced_resource("primage.eu", "v1", "Member", "members")


def connect() -> AsyncClient:
    """One connection for all namespaces: as many requests at a time as they make, since each of them is watched by one."""
    config = KubeConfig.from_env().get()
    assert config
    assert config.user
    trust = verify_cluster(config.cluster, config.user, config.abs_file)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS)
    return AsyncClient(config, transport=httpx2.AsyncHTTPTransport(verify=trust, limits=limits), field_manager=COMPONENT)


class Members:
    """The Members in a VO's namespace."""

    def __init__(self, client: AsyncClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def changes(self, watch_s: float) -> AsyncIterator[tuple[str, list[Object]]]:
        """All Members (`ALL`, once), then each that changes (`MODIFIED`, `DELETED`), for `watch_s`, to be started again then."""
        with _asking():
            found = self._client.list(Member, namespace=self._namespace)
            members = [dict(member) async for member in found]
        yield "ALL", members
        async with aclosing(_watched(self._client, Member, self._namespace, found.resourceVersion, watch_s)) as events:
            async for change, member in events:
                yield change, [dict(member)]


class Kube:
    """One namespace, with the rights of the pod this runs in.

    Args:
        tenant: whose namespace it has to be.
    """

    def __init__(self, client: AsyncClient, tenant: Tenant, shares: Shares) -> None:
        self._client = client
        self._tenant = tenant
        self._lists = shares.lists
        self._questions = asyncio.Semaphore(QUESTIONS)
        self.namespace = tenant.namespace
        self._said: dict[tuple[str, str], float] = {}

    async def owner(self) -> str:
        """What tells this namespace from others: its uid, of which no two are the same in any two clusters.

        Raises:
            UnavailableError: it is not the tenant's.
        """
        async with self._asking():
            space = await self._client.get(Namespace, self.namespace)
        assert space.metadata
        if not self._tenant.has(space.metadata.labels or {}):
            raise UnavailableError("NotServed", f"namespace {self.namespace} does not carry the labels of its tenant")
        return str(space.metadata.uid)

    async def changes(self, watch_s: float) -> AsyncIterator[tuple[str, list[Object]]]:
        """All jobs (`ALL`, once), then each that changes (`MODIFIED`, `DELETED`), for `watch_s`, to be started again then."""
        async with self._lists, self._asking():
            found = self._client.list(Job, namespace=self.namespace, chunk_size=PAGE)
            jobs = [_plain(job) async for job in found]
        yield "ALL", jobs
        async with aclosing(_watched(self._client, Job, self.namespace, found.resourceVersion, watch_s)) as events:
            async for change, job in events:
                begun = time.monotonic()
                plain = _plain(job)
                spent = time.monotonic() - begun
                yield change, [plain]
                await asyncio.sleep(WAITS * spent)

    async def job(self, name: str, uid: str) -> Object | None:
        """The job as it is now; None when it, or the one of that uid, is gone."""
        try:
            async with self._asking():
                job = _plain(await self._client.get(Job, name, namespace=self.namespace))
        except RejectedError as error:
            if error.not_found:
                return None
            raise
        return job if job["metadata"]["uid"] == uid else None

    async def annotate(self, job: Object, values: Mapping[str, str | None]) -> None:
        """Write annotations, and see that the job is not gone before it is cancelled."""
        meta: Object = {"annotations": dict(values)}
        kept = job["metadata"].get("finalizers") or []
        if FINALIZER not in kept:
            meta["finalizers"] = [*kept, FINALIZER]
        await self._patch(job, {"metadata": meta})

    async def release(self, job: Object) -> None:
        """Let the job go when somebody deletes it."""
        live = await self.job(job["metadata"]["name"], job["metadata"]["uid"])
        kept = (live or {}).get("metadata", {}).get("finalizers") or []
        if live and FINALIZER in kept:
            # The test keeps another's finalizer, added meanwhile, from being lost.
            at = f"/metadata/finalizers/{kept.index(FINALIZER)}"
            patch = [{"op": "test", "path": at, "value": FINALIZER}, {"op": "remove", "path": at}]
            async with self._asking():
                await self._client.patch(Job, live["metadata"]["name"], patch, namespace=self.namespace, patch_type=PatchType.JSON)

    async def status(self, job: Object, status: Object) -> None:
        """Write part of the job's status."""
        name = job["metadata"]["name"]
        async with self._asking():
            await self._client.patch(JobStatus, name, {"status": status}, namespace=self.namespace, patch_type=PatchType.MERGE)

    async def _patch(self, job: Object, patch: Object) -> None:
        name = job["metadata"]["name"]
        async with self._asking():
            await self._client.patch(Job, name, patch, namespace=self.namespace, patch_type=PatchType.MERGE)

    async def config_map(self, name: str) -> dict[str, str]:
        """Data of a config map; raises RefusedError where there is none."""
        try:
            async with self._asking():
                found = await self._client.get(ConfigMap, name, namespace=self.namespace)
        except RejectedError as error:
            if error.not_found:
                raise RefusedError("Unfit", f"there is no config map {name}") from error
            raise
        return dict(found.data or {})

    async def credentials(self, backend: str, known: str) -> tuple[Credentials, str] | None:
        """A backend's credentials, and the version of the Secret they are from; None where that is the one known."""
        try:
            async with self._asking():
                found = await self._client.get(Secret, backend_object(backend), namespace=self.namespace)
        except RejectedError as error:
            if error.not_found:
                todo = f"an operator writes it with `primage hpc login --backend {backend}`"
                raise UnavailableError("CredentialsMissing", f"there is no Secret {backend_object(backend)}; {todo}") from error
            raise
        assert found.metadata
        version = str(found.metadata.resourceVersion)
        if version == known:
            return None
        return Credentials.of({key: b64decode(value) for key, value in (found.data or {}).items()}), version

    async def event(self, job: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """Tell people; the same about the same job only every few minutes."""
        key, now = (job["metadata"]["uid"], f"{reason} {message}"), time.monotonic()
        if now - self._said.get(key, -REPEAT_S) < REPEAT_S:
            return
        self._said = {old: when for old, when in self._said.items() if now - when < REPEAT_S} | {key: now}
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = f"{job['metadata']['name'][:200]}.{time.time_ns():x}"
        about = {"apiVersion": "batch/v1", "kind": "Job", "namespace": self.namespace}
        body = {
            "metadata": {"name": name, "namespace": self.namespace},
            "involvedObject": {**about, "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]},
            "reason": reason,
            "message": readable(message, MESSAGE),
            "type": "Warning" if warning else "Normal",
            "count": 1,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "source": {"component": COMPONENT},
        }
        async with self._asking():
            await self._client.create(msgspec.convert(body, Event))

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        async with self._questions:
            with _asking():
                yield


@contextmanager
def _asking() -> Iterator[None]:
    """An API server that cannot be reached is something to wait for; one that says no is a RejectedError."""
    try:
        yield
    except ApiError as error:
        raise RejectedError(int(error.status.code or 0), str(error)) from error
    except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError) as error:
        raise UnavailableError("ApiServer", f"the API server cannot be reached: {error or type(error).__name__}") from error


async def _watched(client: AsyncClient, kind: Any, namespace: str, version: str, watch_s: float) -> AsyncGenerator[tuple[str, Any]]:
    """Every change since a list of that version, for `watch_s`.

    The library's watch restarts itself silently for ever, and a connection that is dead is as quiet as a
    namespace where nothing happens: so the time is kept here.
    """
    end = asyncio.get_running_loop().time() + watch_s
    events: Any = client.watch(kind, namespace=namespace, resource_version=version, server_timeout=int(watch_s) + 10)
    try:
        while True:
            left = end - asyncio.get_running_loop().time()
            try:
                found = await asyncio.wait_for(_next(events), left)
            except (TimeoutError, StopAsyncIteration):
                return
            yield found
    finally:
        await events.aclose()


async def _next(events: Any) -> tuple[str, Any]:
    with _asking():
        found: tuple[str, Any] = await anext(events)
        return found


def _plain(job: Job) -> Object:
    return slim(_without_nothing(msgspec.to_builtins(job)))


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nothing(item) for key, item in value.items() if item is not None}
    return [_without_nothing(item) for item in value] if isinstance(value, list) else value
