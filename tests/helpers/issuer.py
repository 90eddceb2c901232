"""An identity provider of a few lines, on the loopback, with TLS: what it says is the test's to decide."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from primage.components.certificates import new_authority


def id_token(**claims: Any) -> str:
    """A token that nobody has signed: whoever asks the issuer itself does not look."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.e30"


@dataclass
class FakeIssuer:
    """What it answers, in turn, by path; the last answer again and again.

    Attributes:
        asked: path and fields of every POST.
    """

    url: str
    authority: str
    answers: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def describe(self, **more: Any) -> None:
        """Describe itself, with more fields, or others."""
        about = {"issuer": self.url, "token_endpoint": f"{self.url}/token", "authorization_endpoint": f"{self.url}/auth"}
        self.answers[f"{urlsplit(self.url).path}/.well-known/openid-configuration"] = [(200, {**about, **more})]

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """The next one for a path."""
        left = self.answers.get(path, [(404, {})])
        return left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def fake_issuer(folder: Path, path: str = "") -> Iterator[FakeIssuer]:
    """One, while the block runs.

    Args:
        path: of its address.
    """
    for name, text in new_authority("issuer").issue(["127.0.0.1"]).items():
        (folder / name).write_text(text)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made = FakeIssuer(f"https://127.0.0.1:{server.server_port}{path}", str(folder / "ca.crt"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = made.answer(self.path)
            written = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        def do_POST(self) -> None:
            given = self.rfile.read(int(self.headers["Content-Length"])).decode()
            made.asked.append((self.path, dict(parse_qsl(given))))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server.RequestHandlerClass = Handler
    made.describe()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
