"""As much of Kubernetes' API as the HPC connector speaks to, on this machine: Jobs, their status, finalizers and watches."""

from __future__ import annotations

import base64
import copy
import json
import queue
import re
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from primage.contract.names import namespace_for

Object = dict[str, Any]
VO = NAMESPACE = "vo"
"""A VO, and its own namespace."""
STAMP = "2026-01-01T00:00:00Z"


class FakeApi:
    """Objects by namespace, kind and name: of a VO's namespace unless another is named.

    Attributes:
        owner: uid of the VO's namespace.
        lists: how often the VO's Jobs were listed.
        down: while true, it answers nobody.
    """

    def __init__(self, folder: Path) -> None:
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._spaces: dict[str, Object] = {}
        self._watchers: list[tuple[str, str, queue.Queue[Object]]] = []
        self._history: list[tuple[str, str, Object]] = []
        self._lock = threading.RLock()
        self._version = 1
        self.owner = self.space(NAMESPACE)
        self.events: list[Object] = []
        self.lists = 0
        self.down = False
        api = self

        class Handler(_Handler):
            def answer(self) -> None:
                api.answer(self)

        self._server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.kubeconfig = folder / "kubeconfig"
        server = f"http://127.0.0.1:{self._server.server_port}"
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "users": [{"name": "u", "user": {"token": "t"}}],
                    "clusters": [{"name": "s", "cluster": {"server": server}}],
                    "contexts": [{"name": "c", "context": {"cluster": "s", "user": "u", "namespace": NAMESPACE}}],
                }
            )
        )

    def stop(self) -> None:
        self._server.shutdown()

    # -- for tests ---------------------------------------------------------------------------------------------------

    def space(self, name: str, **labels: str) -> str:
        """Make a namespace of the VO's, or make it again; returns its uid."""
        own = {"primage.eu/vo": NAMESPACE, "primage.eu/made-by": "site", **({} if name == NAMESPACE else {"primage.eu/user": name})}
        meta = {"name": name, "uid": str(uuid.uuid4()), "labels": {**own, **labels}}
        self._spaces[name] = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
        return str(meta["uid"])

    def member(self, identity: str, space: str = "", **labels: str) -> str:
        """A Member with a namespace, which its status says it has; returns that one's name."""
        name = namespace_for(identity)
        self.space(name, **labels)
        status = {"namespace": space or name}
        made = {"apiVersion": "primage.eu/v1", "kind": "Member", "spec": {"identity": identity, "uid": 40001}, "status": status}
        self._put("members", name, made)
        return name

    def secret(self, name: str, data: dict[str, bytes], space: str = NAMESPACE) -> None:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        self._put("secrets", name, {"apiVersion": "v1", "kind": "Secret", "data": encoded}, space)

    def config_map(self, name: str, data: dict[str, str], space: str = NAMESPACE) -> None:
        self._put("configmaps", name, {"apiVersion": "v1", "kind": "ConfigMap", "data": data}, space)

    def job(
        self,
        name: str,
        script: str,
        *,
        host: str = "hpc",
        template: dict[str, str] | None = None,
        space: str = NAMESPACE,
        **more: Any,
    ) -> str:
        """An HPC job with its config map; returns its uid."""
        paper = {"host": host, "script": script, **{key: more.pop(key) for key in ("inputs", "outputs") if key in more}}
        self.config_map(name, {"monitoring_period": "1", "job": json.dumps(paper)}, space)
        notes = {"hpc.primage.eu/job": name, **(template or {})}
        container = {"name": "job", "image": "hpc.primage.eu/none", "env": more.pop("env", [])}
        annotations = more.pop("annotations", {})
        spec = {
            "managedBy": "hpc.primage.eu/connector",
            "backoffLimit": 0,
            **more,
            "template": {"metadata": {"annotations": notes}, "spec": {"restartPolicy": "Never", "containers": [container]}},
        }
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"annotations": annotations}, "spec": spec, "status": {}}
        return str(self._put("jobs", name, job, space)["metadata"]["uid"])

    def live(self, name: str, kind: str = "jobs", space: str = NAMESPACE) -> Object | None:
        with self._lock:
            return copy.deepcopy(self._objects.get((space, kind, name)))

    def condition(self, name: str, space: str = NAMESPACE) -> str:
        """`Complete`, `Failed`, or nothing."""
        conditions = (self.live(name, space=space) or {}).get("status", {}).get("conditions") or []
        return next((c["type"] for c in conditions if c["type"] in {"Complete", "Failed"} and c["status"] == "True"), "")

    def said(self, name: str, space: str = NAMESPACE) -> tuple[str, str]:
        """Reason and message of a job's last condition."""
        condition = (self.live(name, space=space) or {})["status"]["conditions"][-1]
        return condition["reason"], condition.get("message", "")

    def edit(self, name: str, patch: Object) -> None:
        """A merge patch, as anybody with the right to edit Jobs would make it."""
        self._patch(NAMESPACE, "jobs", name, patch)

    def delete(self, name: str, kind: str = "jobs", space: str = NAMESPACE) -> None:
        with self._lock:
            found = self._objects.get((space, kind, name))
            if found is None:
                return
            if kind == "jobs" and found["metadata"].get("finalizers"):
                found["metadata"]["deletionTimestamp"] = STAMP
                self._changed("MODIFIED", kind, found)
            else:
                del self._objects[space, kind, name]
                self._changed("DELETED", kind, found)

    # -- the API -----------------------------------------------------------------------------------------------------

    def _put(self, kind: str, name: str, made: Object, space: str = NAMESPACE) -> Object:
        with self._lock:
            meta = {"name": name, "namespace": space, "uid": str(uuid.uuid4()), **made.get("metadata", {})}
            made["metadata"] = meta
            self._objects[space, kind, name] = made
            self._changed("ADDED", kind, made)
            return made

    def _changed(self, change: str, kind: str, thing: Object) -> None:
        self._version += 1
        thing["metadata"]["resourceVersion"] = str(self._version)
        space, event = thing["metadata"]["namespace"], {"type": change, "object": copy.deepcopy(thing)}
        self._history.append((space, kind, event))
        for where, what, watcher in self._watchers:
            if (where, what) == (space, kind):
                watcher.put(event)

    def _patch(self, space: str, kind: str, name: str, patch: Any) -> Object | None:
        with self._lock:
            found = self._objects.get((space, kind, name))
            if found is None:
                return None
            if isinstance(patch, list):
                index = int(patch[-1]["path"].rsplit("/", 1)[1])
                assert found["metadata"]["finalizers"][index] == patch[0]["value"]
                found["metadata"]["finalizers"].pop(index)
            else:
                _merge(found, patch)
            if kind == "jobs" and found["metadata"].get("deletionTimestamp") and not found["metadata"].get("finalizers"):
                del self._objects[space, kind, name]
                self._changed("DELETED", kind, found)
            else:
                self._changed("MODIFIED", kind, found)
            return copy.deepcopy(found)

    def answer(self, request: _Handler) -> None:
        address = urlsplit(request.path)
        query = parse_qs(address.query)
        if self.down:
            request.close_connection = True
            return
        if found := re.fullmatch(r"/api/v1/namespaces/([^/]+)", address.path):
            self._reply(request, self._spaces.get(found[1]))
            return
        found = re.fullmatch(r"/apis?/[a-z0-9./]+/namespaces/([^/]+)/([a-z]+)(?:/([^/]+))?(/status)?", address.path)
        assert found, address.path
        space, kind, name = found[1], found[2], found[3]
        if request.command == "POST":
            self.events.append(json.loads(request.body()))
            request.say(201, self.events[-1])
        elif request.command == "PATCH":
            self._reply(request, self._patch(space, kind, name, json.loads(request.body())))
        elif name:
            self._reply(request, self.live(name, kind, space))
        elif "watch" in query:
            self._watch(request, space, kind, float(query["timeoutSeconds"][0]), int(query["resourceVersion"][0]))
        else:
            self.lists += (space, kind) == (NAMESPACE, "jobs")
            with self._lock:
                items = [thing for (where, what, _), thing in self._objects.items() if (where, what) == (space, kind)]
                text = {
                    "apiVersion": "v1",
                    "kind": "List",
                    "metadata": {"resourceVersion": str(self._version)},
                    "items": items,
                }
                request.say(200, text)

    @staticmethod
    def _reply(request: _Handler, found: Object | None) -> None:
        status = {"apiVersion": "v1", "kind": "Status", "code": 404, "reason": "NotFound", "message": "not found"}
        request.say(200 if found else 404, found or status)

    def _watch(self, request: _Handler, space: str, kind: str, seconds: float, since: int) -> None:
        mine: queue.Queue[Object] = queue.Queue()
        with self._lock:
            for where, what, change in self._history:
                if (where, what) == (space, kind) and int(change["object"]["metadata"]["resourceVersion"]) > since:
                    mine.put(change)
            self._watchers.append((space, kind, mine))
        request.begin()
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0 and not self.down:
                try:
                    change = mine.get(timeout=min(left, 0.2))
                except queue.Empty:
                    continue
                request.wfile.write(json.dumps(change).encode() + b"\n")
                request.wfile.flush()
        except OSError:
            pass
        finally:
            with self._lock:
                self._watchers.remove((space, kind, mine))
            request.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A connector that was killed in the middle of a question is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.answer()

    do_POST = do_PATCH = do_GET  # noqa: N815  # the library's own names

    def log_message(self, *_: Any) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def say(self, status: int, thing: Object) -> None:
        data = json.dumps(thing).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def begin(self) -> None:
        """An answer that ends with the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()


def _merge(into: Object, patch: Object) -> None:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
