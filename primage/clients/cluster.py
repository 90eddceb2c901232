"""All that is said to a Kubernetes API server. Only this module imports the `kubernetes` library."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from primage.clients.unreachable import in_words
from primage.errors import ExitCode, PrimageError

Object = dict[str, Any]
"""A Kubernetes object as plain data, with the API's own field names."""
Objects = list[Object]
"""Several; inside `Cluster`, `list` is its method."""
Query = list[tuple[str, str]]
"""A request's parameters."""

REQUEST_TIMEOUT_S = 30
MOST_PRINTED = 16 * 1024 * 1024
"""Bytes that are taken from a command in a pod: whoever made the pod decides what it prints."""
LONGEST_LINE = 16 * 1024
MOST_LOG = 32 * 1024 * 1024
"""Bytes that are taken of a pod's log: as many as its lines ask for, if none is longer than a container's runtime makes them."""
PAGE = 100
"""Objects in one answer; each may have more than a megabyte."""
MOST_OBJECTS = 20_000
PIECE = 64 * 1024


@dataclass(frozen=True)
class Ref:
    """The address of one object."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"

    @staticmethod
    def of(obj: Object) -> Ref:
        """The address of an object."""
        meta = obj["metadata"]
        return Ref(obj["apiVersion"], obj["kind"], meta["name"], meta.get("namespace", ""))


class Refused(Exception):
    """The API server understood and said no.

    Attributes:
        status: HTTP status.
        reason: Kubernetes' reason, such as `Invalid`, `Conflict`, `NotFound`, `Forbidden`.
        message: the server's words.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        super().__init__(message)


_loaded: dict[tuple[str, int, str], Any] = {}
_loading = threading.Lock()


def _settings(kubeconfig: str, context: str) -> Any:
    """What a kubeconfig says, as the library has it. One that a file says is read once in a process, until the file changes: it may
    name a program that gives tokens, and asking that takes half a second."""
    try:
        if "\n" in kubeconfig or not kubeconfig:
            return _load(kubeconfig, context)
        path = Path(kubeconfig).expanduser()
        with _loading:
            known = (str(path), path.stat().st_mtime_ns, context)
            if known not in _loaded:
                _loaded[known] = _load(str(path), context)
            return _loaded[known]
    except OSError as error:
        raise _unusable(kubeconfig, error) from error


def _load(kubeconfig: str, context: str) -> Any:
    from kubernetes import client, config

    settings = client.Configuration()
    given = {"context": context or None, "client_configuration": settings}
    try:
        if "\n" in kubeconfig:
            import yaml

            config.load_kube_config_from_dict(yaml.safe_load(kubeconfig), **given)
        else:
            config.load_kube_config(kubeconfig or None, **given)
    except config.ConfigException as error:
        raise _unusable(kubeconfig, error) from error
    # The library says why a program gave no token, and goes on without one.
    if not (settings.api_key or settings.cert_file or settings.username) and _names_a_program(kubeconfig):
        raise PrimageError(
            "the program that the kubeconfig names gave no token; it said why above",
            where=kubeconfig,
            todo="log in again with `primage login SITE`, if it is that login's",
            code=ExitCode.UNREACHABLE,
        )
    settings.retries = 2
    settings.connection_pool_maxsize = 32
    return settings


def _names_a_program(kubeconfig: str) -> bool:
    text = kubeconfig if "\n" in kubeconfig or not kubeconfig else Path(kubeconfig).read_text(encoding="utf-8")
    return re.search(r"^\s*\"?exec\"?:", text, re.MULTILINE) is not None


def _unusable(kubeconfig: str, error: Exception) -> PrimageError:
    return PrimageError(
        f"the kubeconfig cannot be used: {error}",
        where="(given as text)" if "\n" in kubeconfig else kubeconfig or "KUBECONFIG",
        todo="name the right file in the site's setting `cluster.kubeconfig`; `make site` writes the local site's",
        code=ExitCode.UNREACHABLE,
    )


@dataclass(frozen=True)
class Bounds:
    """How much is taken of what others have made.

    Attributes:
        objects: in one list.
        bytes_each: of one answer.
    """

    objects: int = MOST_OBJECTS
    bytes_each: int | None = None


class Cluster:
    """A connection to one API server; safe to use from many threads.

    Args:
        kubeconfig: path of a kubeconfig file, or its content; empty for the usual places (`KUBECONFIG`, `~/.kube/config`).
        context: a context in it other than the current one.
        bounds: for a process that has other people's work to do as well.

    Raises:
        PrimageError: the file is missing or is not a kubeconfig.
    """

    _bounds = Bounds()

    def __init__(self, kubeconfig: str = "", context: str = "", bounds: Bounds | None = None) -> None:
        from kubernetes import client

        if bounds:
            self._bounds = bounds

        settings = _settings(kubeconfig, context)
        self.server = str(settings.host)
        self._settings = settings
        self._api = client.ApiClient(settings)
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def apply(self, obj: Object, *, manager: str, dry_run: bool = False, force: bool = False) -> Object:
        """Server-side apply; returns the object as it is, or would be, on the server.

        Raises:
            Refused: with reason `Conflict` when another manager owns a field.
        """
        query: Query = [("fieldManager", manager), ("fieldValidation", "Strict")]
        if dry_run:
            query.append(("dryRun", "All"))
        if force:
            query.append(("force", "true"))
        body = json.dumps(obj)
        return self._call("PATCH", self._path(Ref.of(obj)), query, body, content_type="application/apply-patch+yaml")

    def create(self, obj: Object, *, manager: str) -> Object:
        """Make an object that is not there yet; returns it.

        Raises:
            Refused: with reason `AlreadyExists` where it is.
        """
        query: Query = [("fieldManager", manager), ("fieldValidation", "Strict")]
        ref = Ref.of(obj)
        return self._call("POST", self._path(Ref(ref.api_version, ref.kind, "", ref.namespace)), query, json.dumps(obj))

    def user(self) -> str:
        """Who the API server says that this is."""
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self._call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", None, json.dumps(asked))
        return str(answer["status"]["userInfo"]["username"])

    def get(self, ref: Ref) -> Object | None:
        """The object, or None when it, its namespace or its kind is not there."""
        try:
            return self._call("GET", self._path(ref))
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    def delete(self, ref: Ref, *, propagation: str = "Foreground", uid: str = "") -> None:
        """Delete, dependants first (`Background`: at once, dependants later); quiet when it is gone already.

        Args:
            uid: of the object that is meant; another one that has taken its name is refused (`Conflict`).
        """
        meant = {"preconditions": {"uid": uid}} if uid else {}
        body = json.dumps({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation, **meant})
        try:
            self._call("DELETE", self._path(ref), body=body)
        except Refused as refusal:
            if refusal.status != 404:
                raise

    def deletable(self, ref: Ref) -> Object | None:
        """The object, for whom rights and admission let delete it and not read it; None where it is not there. It stays.

        A deletion of dependants first, which is only tried, answers with the object as it would be while they go. Unlike a patch it
        brings nothing along that would be validated together with the object before admission is asked.
        https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run
        """
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground", "dryRun": ["All"]}
        try:
            return self._call("DELETE", self._path(ref), body=json.dumps(options))
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    def list(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "", most: int = MOST_OBJECTS
    ) -> list[Object]:
        """Objects of a kind, in one namespace or in all, asked for in pages.

        Raises:
            PrimageError: there are more than `most`, which whoever may make them decides.
        """
        found, _ = self._list(Ref(api_version, kind, "", namespace), labels, fields, most)
        return found

    def _list(self, of: Ref, labels: str, fields: str, most: int) -> tuple[Objects, str]:
        """Objects, and the version of the list, from which a watch goes on."""
        query = [("limit", str(PAGE))] + [("labelSelector", labels)] * bool(labels) + [("fieldSelector", fields)] * bool(fields)
        path = self._path(of)
        found: Objects = []
        begun = ""
        most = min(most, self._bounds.objects)
        while True:
            page = self._call("GET", path, query + [("continue", begun)] * bool(begun))
            found += page.get("items", [])
            about = page.get("metadata", {})
            begun = str(about.get("continue") or "")
            if len(found) > most:
                which = " ".join([f"in {of.namespace}"] * bool(of.namespace) + [f"with {labels}"] * bool(labels))
                raise PrimageError(
                    f"there are more than {most} {of.kind} objects {which}".rstrip(),
                    todo="see who makes them: `kubectl get` lists them page by page",
                )
            if not begun:
                version = str(about.get("resourceVersion") or "")
                return [{"apiVersion": of.api_version, "kind": of.kind, **item} for item in found], version

    def first(self, api_version: str, kind: str, namespace: str, most: int) -> tuple[Objects, bool]:
        """The first objects of a kind in a namespace, by name, and whether there are more."""
        page = self._call("GET", self._path(Ref(api_version, kind, "", namespace)), [("limit", str(most))])
        found = [{"apiVersion": api_version, "kind": kind, **item} for item in page.get("items", [])]
        return found, bool(page.get("metadata", {}).get("continue"))

    def listed(self, of: Ref, *, labels: str, most: int, metadata: bool = False, newer: str = "", after: str = "") -> bytes:
        """A list of objects as the API server writes it down, for who reads little of each.

        Args:
            of: their kind and namespace.
            most: so many in one answer; what it says of itself has where the next begins.
            metadata: with nothing of each but its metadata.
            newer: version of a list that was read before: one as new as that will do, which the server has at hand. Otherwise it
                first makes sure that what it has is the newest, and waits a tenth of a second for that where it has just done so.
            after: where an answer before has ended.

        https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches,
        https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
        """
        query = [("limit", str(most)), ("labelSelector", labels)] + [("continue", after)] * bool(after)
        query += [("resourceVersion", newer), ("resourceVersionMatch", "NotOlderThan")] if newer and not after else []
        answer = self._raw("GET", self._path(of), query, accept=_METADATA if metadata else "application/json")
        return bytes(answer.data)

    def watch(self, ref: Ref, *, timeout_s: int) -> Iterator[Object | None]:
        """The object each time it changes, starting with how it is now; None when it is deleted.

        Ends after `timeout_s` seconds, or when the server closes the stream or goes away.
        """
        path = self._path(Ref(ref.api_version, ref.kind, "", ref.namespace))
        for change, obj in self._stream(path, [("fieldSelector", f"metadata.name={ref.name}")], timeout_s):
            yield None if change == "DELETED" else obj

    def watch_all(
        self, api_version: str, kind: str, namespace: str, *, labels: str, timeout_s: int
    ) -> Iterator[tuple[Object, ...]]:
        """All objects with these labels, now and each time one of them changes. Ends as `watch` does."""
        of = Ref(api_version, kind, "", namespace)
        found, version = self._list(of, labels, "", MOST_OBJECTS)
        there = {obj["metadata"]["name"]: obj for obj in found}
        yield tuple(there.values())
        for change, obj in self._stream(self._path(of), [("labelSelector", labels), ("resourceVersion", version)], timeout_s):
            if change == "DELETED":
                there.pop(obj["metadata"]["name"], None)
            else:
                there[obj["metadata"]["name"]] = obj
            yield tuple(there.values())

    def _stream(self, path: str, about: Query, timeout_s: int) -> Iterator[tuple[str, Object]]:
        """Each change and the object as it is then, as the API server tells them."""
        import urllib3

        query = [("watch", "true"), ("timeoutSeconds", str(timeout_s)), *about]
        response = self._raw("GET", path, query, stream=True, timeout=timeout_s + 10)
        try:
            buffer = b""
            for chunk in response.stream(amt=None, decode_content=False):
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    yield event["type"], event["object"]
        except urllib3.exceptions.HTTPError:
            return  # whoever waits asks again, and learns then whether the server is away
        finally:
            response.close()
            response.release_conn()

    def patch(self, ref: Ref, change: Object, *, manager: str) -> Object:
        """Merge a change into an object (RFC 7386), for fields beside what a program declares; returns what it is then."""
        query: Query = [("fieldManager", manager), ("fieldValidation", "Strict")]
        return self._call("PATCH", self._path(ref), query, json.dumps(change), content_type="application/merge-patch+json")

    def execute(self, pod: Ref, command: Sequence[str], *, timeout_s: float = 60) -> tuple[int, str, str]:
        """Run a command in a pod's first container: its exit status, standard output and standard error.

        Raises:
            PrimageError: it does not end in time, or prints more than MOST_PRINTED, or than the bounds let one answer have.
        """
        from websocket import WebSocketException, WebSocketTimeoutException

        asked = [("stdout", "true"), ("stderr", "true"), *(("command", part) for part in command)]
        most = min(MOST_PRINTED, self._bounds.bytes_each or MOST_PRINTED)
        socket = self._websocket(pod, "exec", asked, f"running a command in {pod}")
        try:
            said = _conversation(socket, timeout_s, most)
        except (TimeoutError, WebSocketTimeoutException) as error:
            raise PrimageError(f"{command[0]} in {pod} did not end within {timeout_s:g} s", todo="try again") from error
        except _TooMuchError as error:
            raise PrimageError(
                f"{command[0]} in {pod} prints more than {most} bytes",
                todo="see what runs in that pod",
            ) from error
        except (WebSocketException, OSError) as error:
            raise self._away(f"{in_words(error)} while running a command in {pod}") from error
        finally:
            socket.shutdown()
        code = _exit_status(said[3])
        if code is None:
            raise PrimageError(
                f"{command[0]} cannot be run in {pod}: its container does not run", todo="try again", code=ExitCode.UNREACHABLE
            )
        return code, said[1].decode("utf-8", "replace"), said[2].decode("utf-8", "replace")

    def dial(self, pod: Ref, port: int) -> Any:
        """A web socket to a port on a pod's loopback, by the API server (Kubernetes' port forward, `v4.channel.k8s.io`).

        Every binary message begins with the channel: 0 for data, 1 for an error; each channel's first one holds the port.
        """
        return self._websocket(pod, "portforward", [("ports", str(port))], f"connecting to {pod}")

    def attach(self, pod: Ref, command: Sequence[str], *, container: str = "") -> Any:
        """A web socket to a command that is started in a pod's container, the first by default: see `clients.exec_stream`."""
        streams = [(name, "true") for name in ("stdin", "stdout", "stderr")]
        which = [("container", container)] * bool(container)
        return self._websocket(pod, "exec", [*(("command", part) for part in command), *streams, *which], f"connecting to {pod}")

    def _websocket(self, pod: Ref, what: str, arguments: Query, doing: str) -> Any:
        from kubernetes.stream import ws_client
        from websocket import WebSocketBadStatusException, WebSocketException

        headers: dict[str, str] = {"sec-websocket-protocol": "v4.channel.k8s.io"}
        path = f"{self._path(pod)}/{what}"
        self._api.update_params_for_auth(headers, arguments, ["BearerToken"], path, "GET", None)
        url = ws_client.get_websocket_url(f"{self.server}{path}", arguments)
        try:
            return ws_client.create_websocket(self._settings, url, headers)
        except WebSocketBadStatusException as error:
            raise PrimageError(
                f"the API server refused {doing} (HTTP {error.status_code})",
                todo="see whether the pod is still there, and whether you may enter it",
            ) from error
        except (WebSocketException, OSError) as error:
            raise self._away(f"{in_words(error)} while {doing}") from error

    def logs(self, namespace: str, pod: str, *, tail: int = 20, container: str = "") -> str:
        """The last lines a pod's container wrote; empty when it never started."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        most = min(MOST_LOG, tail * LONGEST_LINE)
        query = [("tailLines", str(tail)), ("limitBytes", str(most))] + [("container", container)] * bool(container)
        try:
            return str(self._raw("GET", path, query, accept="*/*").data.decode("utf-8", "replace"))
        except Refused:
            return ""

    def raw(self, path: str) -> str:
        """A plain GET, for `/readyz` and `/version`."""
        return str(self._raw("GET", path, accept="*/*").data.decode())

    def pieces(self, path: str, *, silence_s: float) -> Iterator[bytes]:
        """A plain GET of something long, such as a file on a node, as it arrives.

        Args:
            silence_s: how long the server may send nothing.

        Raises:
            Refused: it is not there, or not to be had.
            PrimageError: the server does not answer, or the connection breaks.
        """
        import urllib3

        response = self._raw("GET", path, accept="*/*", stream=True, timeout=silence_s)
        try:
            yield from response.stream(PIECE, decode_content=True)
        except urllib3.exceptions.HTTPError as error:
            raise self._away(in_words(error)) from error
        finally:
            response.close()
            response.release_conn()

    def _path(self, ref: Ref) -> str:
        plural, namespaced = self._kind(ref.api_version, ref.kind)
        root = f"/api/{ref.api_version}" if "/" not in ref.api_version else f"/apis/{ref.api_version}"
        # A name is one part of a path, whatever is in it.
        space = f"/namespaces/{quote(ref.namespace, safe='')}" if namespaced and ref.namespace else ""
        return f"{root}{space}/{plural}" + (f"/{quote(ref.name, safe=':')}" if ref.name else "")

    def _kind(self, api_version: str, kind: str) -> tuple[str, bool]:
        with self._lock:
            found = self._kinds.get((api_version, kind))
            if found is None:
                root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
                for resource in self._call("GET", root)["resources"]:
                    if "/" not in resource["name"]:
                        self._kinds[api_version, resource["kind"]] = (resource["name"], resource["namespaced"])
                found = self._kinds.get((api_version, kind))
        if found is None:
            raise Refused(404, "NotFound", f"the server knows no kind {kind} in {api_version}")
        return found

    def _call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: str | None = None,
        content_type: str = "application/json",
    ) -> Object:
        response = self._raw(method, path, query, body, content_type)
        loaded: Object = json.loads(response.data)
        return loaded

    def _raw(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: str | None = None,
        content_type: str = "application/json",
        *,
        accept: str = "application/json",
        stream: bool = False,
        timeout: float = REQUEST_TIMEOUT_S,
    ) -> Any:
        import urllib3
        from kubernetes.client.exceptions import ApiException

        headers: dict[str, str] = {"Accept": accept, "Content-Type": content_type}
        arguments: Query = [*(query or [])]
        self._api.update_params_for_auth(headers, arguments, ["BearerToken"], path, method, body)
        url = f"{self.server}{path}" + (f"?{urlencode(arguments)}" if arguments else "")
        send = partial(
            self._api.rest_client.pool_manager.request,
            method,
            url,
            body=body,
            headers=headers,
            preload_content=not stream and self._bounds.bytes_each is None,
            timeout=urllib3.Timeout(timeout, connect=5),
        )
        try:
            response = send()
            if response.status in _WHILE_STARTING and path != "/readyz":
                self._require_ready(headers)
                response = send()
            answer = response if stream or self._bounds.bytes_each is None else _whole(response, self._bounds.bytes_each)
        except (urllib3.exceptions.HTTPError, ApiException) as error:
            raise self._away(in_words(error)) from error
        if answer.status >= 400:
            raise _refusal(answer)
        return answer

    def _require_ready(self, headers: dict[str, str]) -> None:
        """Raise when the server is only starting: until its roles are loaded it forbids everything to everybody."""
        ready = self._api.rest_client.pool_manager.request("GET", f"{self.server}/readyz", headers=headers, timeout=5.0)
        if ready.status != 200:
            raise self._away("it is starting")

    def _away(self, why: str) -> PrimageError:
        return PrimageError(
            f"the API server at {self.server} does not answer ({why})",
            todo="see whether its machine is up (`primage site local status` for the local site), then try again; "
            "nothing done so far is lost",
            code=ExitCode.UNREACHABLE,
        )


_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@dataclass(frozen=True)
class _Answer:
    """An answer that was read whole."""

    status: int
    reason: str
    data: bytes


def _whole(response: Any, most: int) -> _Answer:
    try:
        data = response.read(most + 1)
        if len(data) > most:
            raise PrimageError(
                f"the API server's answer has more than {most} bytes",
                todo="look with kubectl at what was made there, and remove it",
            )
        return _Answer(response.status, str(response.reason), data)
    finally:
        # What is left of it is not read.
        response.close() if response.length_remaining else response.release_conn()


class _TooMuchError(Exception):
    """A pod printed more than is taken from one."""


def is_leaving(obj: Object) -> bool:
    """Whether an object is being deleted: it may still be there for a while, whatever is applied to it."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def _conversation(socket: Any, timeout_s: float, most: int = MOST_PRINTED) -> dict[int, bytes]:
    """All that a web socket says until it is closed, by channel: 1 is standard output, 2 standard error, 3 how it ended.

    Raises:
        TimeoutError: it goes on for longer.
        _TooMuchError: it says more than `most` bytes.
    """
    from websocket import ABNF

    said = {1: bytearray(), 2: bytearray(), 3: bytearray()}
    end = time.monotonic() + timeout_s
    while (left := end - time.monotonic()) > 0:
        socket.settimeout(left)
        kind, frame = socket.recv_data_frame(control_frame=True)
        if kind == ABNF.OPCODE_CLOSE:
            return {channel: bytes(data) for channel, data in said.items()}
        if kind in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) and frame.data and frame.data[0] in said:
            said[frame.data[0]] += frame.data[1:]
            if sum(map(len, said.values())) > most:
                raise _TooMuchError
    raise TimeoutError


def _exit_status(told: bytes) -> int | None:
    """The exit status in a `Status` object; None where the command was not run at all."""
    try:
        status = json.loads(told)
        if status["status"] == "Success":
            return 0
        return next(int(cause["message"]) for cause in status["details"]["causes"] if cause["reason"] == "ExitCode")
    except (ValueError, KeyError, TypeError, StopIteration):
        return None


_WHILE_STARTING = frozenset({401, 403, 500, 503})


def _refusal(response: Any) -> Refused:
    data = response.data if response.data is not None else b""
    try:
        status = json.loads(data)
        return Refused(response.status, str(status.get("reason", "")), str(status.get("message", "")))
    except ValueError:
        return Refused(response.status, str(response.reason), data.decode("utf-8", "replace")[:500])


def kubeconfig_path(path: str) -> str:
    """A kubeconfig path as given in a site's file, with `~` read as the home folder."""
    return str(Path(path).expanduser()) if path else ""
