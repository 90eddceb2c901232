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

Object = dict[str, Any]
NAMESPACE = "vo"
STAMP = "2026-01-01T00:00:00Z"


class FakeApi:
    """Objects of one namespace, by kind and name.

    Attributes:
        lists: how often the Jobs were listed.
        down: while true, it answers nobody.
    """

    def __init__(self, folder: Path) -> None:
        self._objects: dict[tuple[str, str], Object] = {}
        self._watchers: list[queue.Queue[Object]] = []
        self._history: list[Object] = []
        self._lock = threading.RLock()
        self._version = 1
        self.owner = str(uuid.uuid4())
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

    def secret(self, name: str, data: dict[str, bytes]) -> None:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        self._put("secrets", name, {"apiVersion": "v1", "kind": "Secret", "data": encoded})

    def config_map(self, name: str, data: dict[str, str]) -> None:
        self._put("configmaps", name, {"apiVersion": "v1", "kind": "ConfigMap", "data": data})

    def job(self, name: str, script: str, *, host: str = "hpc", template: dict[str, str] | None = None, **more: Any) -> str:
        """An HPC job with its config map; returns its uid."""
        paper = {"host": host, "script": script, **{key: more.pop(key) for key in ("inputs", "outputs") if key in more}}
        self.config_map(name, {"monitoring_period": "1", "job": json.dumps(paper)})
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
        return str(self._put("jobs", name, job)["metadata"]["uid"])

    def live(self, name: str, kind: str = "jobs") -> Object | None:
        with self._lock:
            return copy.deepcopy(self._objects.get((kind, name)))

    def condition(self, name: str) -> str:
        """`Complete`, `Failed`, or nothing."""
        conditions = (self.live(name) or {}).get("status", {}).get("conditions") or []
        return next((c["type"] for c in conditions if c["type"] in {"Complete", "Failed"} and c["status"] == "True"), "")

    def said(self, name: str) -> tuple[str, str]:
        """Reason and message of a job's last condition."""
        condition = (self.live(name) or {})["status"]["conditions"][-1]
        return condition["reason"], condition.get("message", "")

    def edit(self, name: str, patch: Object) -> None:
        """A merge patch, as anybody with the right to edit Jobs would make it."""
        self._patch("jobs", name, patch)

    def delete(self, name: str, kind: str = "jobs") -> None:
        with self._lock:
            found = self._objects.get((kind, name))
            if found is None:
                return
            if kind == "jobs" and found["metadata"].get("finalizers"):
                found["metadata"]["deletionTimestamp"] = STAMP
                self._changed("MODIFIED", found)
            else:
                del self._objects[kind, name]
                if kind == "jobs":
                    self._changed("DELETED", found)

    # -- the API -----------------------------------------------------------------------------------------------------

    def _put(self, kind: str, name: str, made: Object) -> Object:
        with self._lock:
            meta = {"name": name, "namespace": NAMESPACE, "uid": str(uuid.uuid4()), **made.get("metadata", {})}
            made["metadata"] = meta
            self._objects[kind, name] = made
            self._changed("ADDED" if kind == "jobs" else "", made)
            return made

    def _changed(self, change: str, thing: Object) -> None:
        self._version += 1
        thing["metadata"]["resourceVersion"] = str(self._version)
        if change:
            self._history.append({"type": change, "object": copy.deepcopy(thing)})
            for watcher in self._watchers:
                watcher.put(self._history[-1])

    def _patch(self, kind: str, name: str, patch: Any) -> Object | None:
        with self._lock:
            found = self._objects.get((kind, name))
            if found is None:
                return None
            if isinstance(patch, list):
                index = int(patch[-1]["path"].rsplit("/", 1)[1])
                assert found["metadata"]["finalizers"][index] == patch[0]["value"]
                found["metadata"]["finalizers"].pop(index)
            else:
                _merge(found, patch)
            if kind == "jobs" and found["metadata"].get("deletionTimestamp") and not found["metadata"].get("finalizers"):
                del self._objects[kind, name]
                self._changed("DELETED", found)
            else:
                self._changed("MODIFIED", found)
            return copy.deepcopy(found)

    def answer(self, request: _Handler) -> None:
        address = urlsplit(request.path)
        query = parse_qs(address.query)
        if self.down:
            request.close_connection = True
            return
        if re.fullmatch(rf"/api/v1/namespaces/{NAMESPACE}", address.path):
            request.say(200, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "uid": self.owner}})
            return
        found = re.fullmatch(rf"/apis?/[a-z0-9/]+/namespaces/{NAMESPACE}/([a-z]+)(?:/([^/]+))?(/status)?", address.path)
        assert found, address.path
        kind, name = found[1], found[2]
        if request.command == "POST":
            self.events.append(json.loads(request.body()))
            request.say(201, self.events[-1])
        elif request.command == "PATCH":
            self._reply(request, self._patch(kind, name, json.loads(request.body())))
        elif name:
            self._reply(request, self.live(name, kind))
        elif "watch" in query:
            self._watch(request, float(query["timeoutSeconds"][0]), int(query["resourceVersion"][0]))
        else:
            self.lists += 1
            with self._lock:
                items = [thing for (what, _), thing in self._objects.items() if what == kind]
                text = {
                    "apiVersion": "batch/v1",
                    "kind": "JobList",
                    "metadata": {"resourceVersion": str(self._version)},
                    "items": items,
                }
                request.say(200, text)

    @staticmethod
    def _reply(request: _Handler, found: Object | None) -> None:
        status = {"apiVersion": "v1", "kind": "Status", "code": 404, "reason": "NotFound", "message": "not found"}
        request.say(200 if found else 404, found or status)

    def _watch(self, request: _Handler, seconds: float, since: int) -> None:
        mine: queue.Queue[Object] = queue.Queue()
        with self._lock:
            for change in self._history:
                if int(change["object"]["metadata"]["resourceVersion"]) > since:
                    mine.put(change)
            self._watchers.append(mine)
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
                self._watchers.remove(mine)
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
