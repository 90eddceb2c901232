"""A cluster in memory, for tests of what an engine decides: it keeps what is applied, and everything is ready at once."""

from __future__ import annotations

import base64
import copy
import itertools
from collections.abc import Iterator
from typing import Any

from primage.clients.cluster import Object, Ref, Refused

_READY: dict[str, dict[str, Any]] = {
    "Deployment": {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1},
    "Job": {"ready": 1, "conditions": [{"type": "Complete", "status": "True"}]},
    "Namespace": {"phase": "Active"},
    "PersistentVolume": {"phase": "Bound"},
    "PersistentVolumeClaim": {"phase": "Bound"},
    "StatefulSet": {"observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 1},
}


class MemoryCluster:
    """As much of `primage.clients.cluster.Cluster` as the engine uses.

    Attributes:
        objects: what is there, by address; a test may put anything in.
        deleted: addresses in the order they were deleted.
        written: addresses in the order they were written.
    """

    server = "https://memory"

    def __init__(self) -> None:
        self.objects: dict[Ref, Object] = {}
        self.deleted: list[Ref] = []
        self.written: list[Ref] = []
        self._numbers = itertools.count(1)

    def put(self, obj: Object, *, manager: str = "somebody") -> Ref:
        """An object that is there already, written by `manager`."""
        ref = Ref.of(obj)
        self.objects[ref] = self._merged(obj, manager)
        return ref

    def get(self, ref: Ref) -> Object | None:
        return copy.deepcopy(self.objects.get(ref))

    def apply(self, obj: Object, *, manager: str, dry_run: bool = False, force: bool = False) -> Object:
        merged = self._merged(copy.deepcopy(obj), manager)
        if not dry_run:
            self.objects[Ref.of(obj)] = merged
            self.written.append(Ref.of(obj))
        return copy.deepcopy(merged)

    def delete(self, ref: Ref, *, propagation: str = "Foreground", uid: str = "") -> None:
        found = self.objects.get(ref)
        if found is None:
            return
        if uid and found["metadata"]["uid"] != uid:
            raise Refused(409, "Conflict", "the UID in the precondition does not match the object's")
        del self.objects[ref]
        self.deleted.append(ref)

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> list[Object]:
        return []

    def watch(self, ref: Ref, *, timeout_s: int) -> Iterator[Object | None]:
        yield self.get(ref)

    def _merged(self, obj: Object, manager: str) -> Object:
        live = self.objects.get(Ref.of(obj), {})
        before = live.get("metadata", {})
        number = str(next(self._numbers))
        managers = {entry["manager"] for entry in before.get("managedFields", [])} | {manager}
        metadata = {
            **before,
            **obj["metadata"],
            "labels": {**(before.get("labels") or {}), **(obj["metadata"].get("labels") or {})},
            "uid": before.get("uid", f"{int(number):08x}-0000"),
            "resourceVersion": number,
            "generation": 1,
            "managedFields": [{"manager": name} for name in sorted(managers)],
        }
        body = {key: value for key, value in obj.items() if key != "stringData"}
        if "stringData" in obj:
            body["data"] = {key: base64.b64encode(text.encode()).decode() for key, text in obj["stringData"].items()}
        status = {"status": _READY[obj["kind"]]} if obj["kind"] in _READY else {}
        return {**live, **body, **status, "metadata": metadata}
