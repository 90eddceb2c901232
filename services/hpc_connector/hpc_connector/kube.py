"""Everything that is said to Kubernetes: jobs and their status, events, backends and their credentials."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from lightkube import ApiError, AsyncClient
from lightkube.resources.batch_v1 import Job, JobStatus
from lightkube.resources.core_v1 import ConfigMap, Event, Namespace, Secret
from lightkube.types import PatchType

from hpc_connector.connection import Credentials
from hpc_connector.domain import FINALIZER, Backend, RefusedError, UnavailableError

Object = dict[str, Any]
COMPONENT = "hpc-connector"
REPEAT_S = 300
WATCH_S = 290
MESSAGE = 1000
NOT_FOUND = 404


class Kube:
    """One namespace, with the rights of the pod this runs in."""

    def __init__(self, client: AsyncClient, namespace: str) -> None:
        self._client = client
        self.namespace = namespace
        self._said: dict[tuple[str, str], float] = {}

    async def owner(self) -> str:
        """What tells this namespace from others: its uid, of which no two are the same in any two clusters."""
        space = await self._client.get(Namespace, self.namespace)
        assert space.metadata
        return str(space.metadata.uid)

    async def changes(self) -> AsyncIterator[tuple[str, list[Object]]]:
        """All jobs (`ALL`, once), then each that changes (`MODIFIED`, `DELETED`); ends when the watch does, to be begun anew."""
        found = self._client.list(Job, namespace=self.namespace)
        yield "ALL", [_plain(job) async for job in found]
        version = found.resourceVersion
        async for change, job in self._client.watch(
            Job, namespace=self.namespace, resource_version=version, server_timeout=WATCH_S
        ):
            yield change, [_plain(job)]

    async def job(self, name: str, uid: str) -> Object | None:
        """The job as it is now; None when it, or the one of that uid, is gone."""
        try:
            job = _plain(await self._client.get(Job, name, namespace=self.namespace))
        except ApiError as error:
            if error.status.code == NOT_FOUND:
                return None
            raise
        return job if job["metadata"]["uid"] == uid else None

    async def annotate(self, job: Object, values: dict[str, str | None]) -> None:
        """Write annotations, and see that the job is not gone before it is cancelled."""
        meta: Object = {"annotations": values}
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
            await self._client.patch(Job, live["metadata"]["name"], patch, namespace=self.namespace, patch_type=PatchType.JSON)

    async def status(self, job: Object, status: Object) -> None:
        """Write part of the job's status."""
        name = job["metadata"]["name"]
        await self._client.patch(JobStatus, name, {"status": status}, namespace=self.namespace, patch_type=PatchType.MERGE)

    async def _patch(self, job: Object, patch: Object) -> None:
        name = job["metadata"]["name"]
        await self._client.patch(Job, name, patch, namespace=self.namespace, patch_type=PatchType.MERGE)

    async def backend(self, host: str, names: list[str]) -> Backend:
        """The backend a job names by its name or by its ENDPOINT."""
        for name in names:
            try:
                backend = Backend.of(name, await self.config_map(f"backend-{name}"))
            except RefusedError:
                if host == name:
                    raise
                continue
            if host in {name, backend.endpoint}:
                return backend
        raise RefusedError("UnknownBackend", f"this VO has no HPC backend {host!r}; it has {', '.join(names) or 'none'}")

    async def config_map(self, name: str) -> dict[str, str]:
        """Data of a config map; raises RefusedError where there is none."""
        try:
            found = await self._client.get(ConfigMap, name, namespace=self.namespace)
        except ApiError as error:
            if error.status.code == NOT_FOUND:
                raise RefusedError("Unfit", f"there is no config map {name}") from error
            raise
        return dict(found.data or {})

    async def credentials(self, backend: str) -> tuple[Credentials, str]:
        """A backend's credentials, and the version of the Secret they are from."""
        try:
            found = await self._client.get(Secret, f"backend-{backend}", namespace=self.namespace)
        except ApiError as error:
            if error.status.code == NOT_FOUND:
                todo = f"an operator writes it with `primage hpc login --backend {backend}`"
                raise UnavailableError("CredentialsMissing", f"there is no Secret backend-{backend}; {todo}") from error
            raise
        assert found.metadata
        data = {key: _decoded(value) for key, value in (found.data or {}).items()}
        return Credentials.of(data), str(found.metadata.resourceVersion)

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
            "reason": reason, "message": message[:MESSAGE], "type": "Warning" if warning else "Normal", "count": 1,
            "firstTimestamp": stamp, "lastTimestamp": stamp, "source": {"component": COMPONENT},
        }  # fmt: skip
        await self._client.create(msgspec.convert(body, Event))


def _plain(job: Job) -> Object:
    found: Object = _without_nothing(msgspec.to_builtins(job))
    return found


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nothing(item) for key, item in value.items() if item is not None}
    return [_without_nothing(item) for item in value] if isinstance(value, list) else value


def _decoded(text: str) -> bytes:
    from base64 import b64decode

    return b64decode(text)
