"""A cluster in memory, for tests of engines and operations: it keeps what is applied, and everything is ready at once."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from primage.clients.cluster import Object, Ref, Refused
from primage.contract.custom_resources import API_VERSION, Phase, digest_of

_READY: dict[str, dict[str, Any]] = {
    "CustomResourceDefinition": {"conditions": [{"type": kind, "status": "True"} for kind in ("Established", "NamesAccepted")]},
    "Deployment": {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1},
    "Job": {"ready": 1, "conditions": [{"type": "Complete", "status": "True"}]},
    "Namespace": {"phase": "Active"},
    "PersistentVolume": {"phase": "Bound"},
    "PersistentVolumeClaim": {"phase": "Bound"},
    "StatefulSet": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1},
}


class MemoryCluster:
    """As much of `primage.clients.cluster.Cluster` as the engine uses.

    Attributes:
        objects: what is there, by address; a test may put anything in.
        deleted: addresses in the order they were deleted.
        written: addresses in the order they were written.
        said: by name, what a pod has written.
        forbidden: kinds that may not be listed.
        answer: what commands in pods print.
        is_user: who the API server says that this is.
    """

    server = "https://memory"

    def __init__(self) -> None:
        self.objects: dict[Ref, Object] = {}
        self.deleted: list[Ref] = []
        self.written: list[Ref] = []
        self.said: dict[str, str] = {}
        self.forbidden: set[str] = set()
        self.answer = ""
        self.is_user = "primage:ada@example.org"
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

    def list(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "", most: int = 0
    ) -> list[Object]:
        if kind in self.forbidden:
            raise Refused(403, "Forbidden", f"{kind} may not be listed")
        several = {key: set(values.split(",")) for key, values in re.findall(r"([^\s,]+) in \(([^)]*)\)", labels)}
        labels = re.sub(r",?[^\s,]+ in \([^)]*\)", "", labels)
        parts = [part for part in labels.split(",") if part]
        wanted = dict(part.split("=", 1) for part in parts if "=" in part)
        named = {part for part in parts if "=" not in part}
        asked = dict(part.split("=", 1) for part in fields.split(",") if part)
        found = []
        for ref, obj in self.objects.items():
            here = (ref.api_version, ref.kind) == (api_version, kind) and namespace in ("", ref.namespace)
            carried = (obj["metadata"].get("labels") or {}) if here else {}
            among = all(carried.get(key) in values for key, values in several.items())
            if here and among and named <= carried.keys() and wanted.items() <= carried.items() and _fits(obj, asked):
                found.append(copy.deepcopy(obj))
        return found

    def listed(self, of: Ref, *, labels: str, most: int, metadata: bool = False, newer: str = "", after: str = "") -> bytes:
        found = self.list(of.api_version, of.kind, of.namespace, labels=labels)
        items = [{"metadata": obj["metadata"]} if metadata else obj for obj in found]
        begin = int(after or 0)
        about = {"resourceVersion": "1", **({"continue": str(begin + most)} if len(items) > begin + most else {})}
        return json.dumps({"metadata": about, "items": items[begin : begin + most]}).encode()

    def first(self, api_version: str, kind: str, namespace: str, most: int) -> tuple[list[Object], bool]:
        found = self.list(api_version, kind, namespace)
        return found[:most], len(found) > most

    def create(self, obj: Object, *, manager: str) -> Object:
        if Ref.of(obj) in self.objects:
            raise Refused(409, "AlreadyExists", f"{Ref.of(obj)} already exists")
        return self.apply(obj, manager=manager)

    def user(self) -> str:
        return self.is_user

    def deletable(self, ref: Ref) -> Object | None:
        return self.get(ref)

    def patch(self, ref: Ref, change: Object, *, manager: str) -> Object:
        if ref not in self.objects:
            raise Refused(404, "NotFound", f"{ref} not found")
        self.objects[ref]["spec"].update(change["spec"])
        self.written.append(ref)
        return copy.deepcopy(self.objects[ref])

    def logs(self, namespace: str, pod: str, *, tail: int = 20, container: str = "") -> str:
        return "".join(self.said.get(pod, "").splitlines(keepends=True)[-tail:])

    def execute(self, pod: Ref, command: Sequence[str], *, timeout_s: float = 60) -> tuple[int, str, str]:
        return 0, self.answer, ""

    def watch(self, ref: Ref, *, timeout_s: int) -> Iterator[Object | None]:
        yield self.get(ref)

    def watch_all(
        self, api_version: str, kind: str, namespace: str, *, labels: str, timeout_s: int
    ) -> Iterator[tuple[Object, ...]]:
        yield tuple(self.list(api_version, kind, namespace, labels=labels))

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
            "creationTimestamp": before.get("creationTimestamp", f"2026-01-01T00:00:{int(number):06}Z"),
            "managedFields": [{"manager": name} for name in sorted(managers)],
        }
        body = {key: value for key, value in obj.items() if key != "stringData"}
        if "stringData" in obj:
            body["data"] = {key: base64.b64encode(text.encode()).decode() for key, text in obj["stringData"].items()}
        status = {"status": _READY[obj["kind"]]} if obj["kind"] in _READY else {}
        if obj["apiVersion"] == API_VERSION:
            status = {"status": {"phase": Phase.READY.value, "applied": digest_of(obj)}}
        return {**live, **body, **status, "metadata": metadata}


def _fits(obj: Object, asked: dict[str, str]) -> bool:
    """Whether an object has the values that a field selector asks for."""
    for path, value in asked.items():
        found: Any = obj
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found != value:
            return False
    return True
