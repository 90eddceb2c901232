"""Between the authorizer and whom it asks: counts what it changes, and ends it right after the change that a test names.

That change has been made then, and the authorizer has not heard of it: the worst moment there is. Changes are made one at a time.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any
from urllib.parse import urlsplit

PIECE = 64 * 1024
SILENT = 300
"""Seconds without a word after which a connection to the API server is given up; its watches last 290."""


class Steps:
    """Changes, in the order in which they were made.

    Attributes:
        done: each in words: method, path and body of a request, or a question to the container that makes folders.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self._turn = threading.Lock()
        self._life = 0
        self._ends: list[_End] = []

    def end_after(self, number: int, word: str, end: Callable[[], None]) -> threading.Event:
        """Have something ended right after so many more changes that have this word in them; the event is set then."""
        with self._turn:
            self._ends.append(made := _End(number, word, end))
        return made.reached

    def end_no_more(self) -> None:
        """Let everything live."""
        with self._turn:
            self._ends.clear()

    def those(self, word: str, since: int = 0) -> list[str]:
        """The changes with this word in them."""
        return [step for step in self.done[since:] if word in step]

    @property
    def life(self) -> int:
        """How often something was ended."""
        return self._life

    def make(self, life: int, change: Callable[[], Any], what: str) -> Any:
        """Make a change in its turn; None where who asks has been ended, before it or by it."""
        with self._turn:
            if life != self._life:
                return None
            answer = change()
            self.done.append(what)
            return None if self._reached(what) else answer

    def _reached(self, what: str) -> bool:
        for one in self._ends:
            one.left -= one.word in what
        reached = [one for one in self._ends if one.left == 0]
        for one in reached:
            one.end()
            one.reached.set()
            self._ends.remove(one)
        self._life += bool(reached)
        return bool(reached)


@dataclass
class _End:
    left: int
    word: str
    end: Callable[[], None]
    reached: threading.Event = field(default_factory=threading.Event)


@contextmanager
def counted_api(kubeconfig: Path, steps: Steps) -> Iterator[Path]:
    """Another kubeconfig, beside the first, for the same API server by way of a proxy."""
    config = json.loads(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    place = urlsplit(cluster["server"])
    trust = ssl.create_default_context(cafile=str(kubeconfig.with_name("ca.crt")))

    class Passing(_ApiRequest):
        counted = steps

        def connected(self) -> http.client.HTTPSConnection:
            return http.client.HTTPSConnection(str(place.hostname), place.port, timeout=SILENT, context=trust)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    server.daemon_threads = True
    config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{server.server_port}"}
    made = kubeconfig.with_name("counted")
    made.write_text(json.dumps(config))
    with _serving(server):
        yield made


class _ApiRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    counted: Steps
    _upstream: http.client.HTTPSConnection | None = None

    def connected(self) -> http.client.HTTPSConnection:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # whatever the method
            return self._pass_on
        raise AttributeError(name)

    def _pass_on(self) -> None:
        life, length = self.counted.life, int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # who asks has been ended in the middle
            self.close_connection = True
            return
        said = f"{self.command} {self.path} {body.decode(errors='replace')}"
        try:
            reads = self.command == "GET"
            answer = self._asked(body) if reads else self.counted.make(life, lambda: self._asked(body), said)
            if answer is None:
                self.close_connection = True
            else:
                self._answer(answer)
        except (OSError, http.client.HTTPException):  # either side has gone
            self._upstream, self.close_connection = None, True

    def _asked(self, body: bytes) -> http.client.HTTPResponse:
        self._upstream = self._upstream or self.connected()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        self._upstream.request(self.command, self.path, body or None, headers)
        return self._upstream.getresponse()

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date"):
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece := answer.read1(PIECE):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        answer.close()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def handle_one_request(self) -> None:
        """Quiet when who asks has been ended."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True


@contextmanager
def counted_folders(folder: Path, steps: Steps) -> Iterator[Path]:
    """Another socket for the container that makes folders, whose own is `folder`/folders."""

    class Passing(StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                life, question = steps.life, self.rfile.readline()
                if not question.endswith(b"\n"):  # who asks has been ended in the middle
                    return
                answer = steps.make(life, lambda: _answered(folder / "folders", question), question.decode())
                self.wfile.write(answer or b"")

    path = folder / "counted"
    server = ThreadingUnixStreamServer(str(path), Passing)
    server.daemon_threads = True
    with _serving(server):
        yield path


def _answered(path: Path, question: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(path))
        other.sendall(question)
        with other.makefile("rb") as answer:
            return answer.readline()


@contextmanager
def _serving(server: Any) -> Iterator[None]:
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
