"""What the authorizer asks of Keycloak's interface, by a server of a test's own: it says what a test wants, and fails as it wants.

https://www.keycloak.org/docs-api/latest/rest-api/index.html
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from primage.components.certificates import new_authority
from primage.contract.roles import Role

REALM = "primage"


class Fault(StrEnum):
    """How it answers when it does not answer."""

    NONE = "none"
    AWAY = "it is away"
    FAILS = "it answers 503, with a page of a proxy before it"
    HALF = "its answers end in the middle"
    EMPTY = "where members should be listed it says nothing, and that all is well"
    OTHER = "where members should be listed it says something else, and that all is well"
    NO_ROLES = "where groups should be listed it says nothing, and that all is well"
    SILENT = "it takes questions, and says nothing"


@dataclass
class KeycloakServer:
    """One realm.

    Attributes:
        people: names and groups (`/vo/role`), by the account's ID.
        asked: how many questions it has been asked; one that was answered by a fault is one too.
    """

    folder: Path
    people: dict[str, tuple[str, set[str]]] = field(default_factory=dict)
    uids: dict[str, str] = field(default_factory=dict)
    fault: Fault = Fault.NONE
    asked: int = 0
    port: int = 0
    _changes: int = 0
    _server: ThreadingHTTPServer | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def issuer(self) -> str:
        return f"https://127.0.0.1:{self.port}/realms/{REALM}"

    def put(self, account: str, identity: str, *groups: str) -> None:
        """Have an account be in these groups and in no others, as an administrator does."""
        self.people[account] = (identity, set(groups))
        self._changes += 1

    def fail(self, fault: Fault) -> None:
        """From now on."""
        self.fault = fault
        self._over.clear()
        if fault is Fault.AWAY:
            self.stop()

    def recover(self) -> None:
        """Answer again."""
        self.fault = Fault.NONE
        self._over.set()
        if self._server is None:
            self.start()

    def start(self) -> None:
        """At the port it has, or at a free one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "tls.crt", self.folder / "tls.key")
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Nobody listens then."""
        self._over.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def wait_over(self) -> None:
        """Return once the fault is."""
        self._over.wait(120)

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """To a GET."""
        match path.removeprefix(f"/admin/realms/{REALM}/").split("/"):
            case ["group-by-path", *_, name]:
                return (200, {"id": name, "name": name}) if name in self._vos() else (404, {"error": "Group path does not exist"})
            case ["groups", group, "children"]:
                roles = [{"id": f"{group}~{role}", "name": role.value} for role in Role]
                return 200, roles if query["first"] == ["0"] else []
            case ["groups", group, "members"]:
                return 200, [self._user(who) for who in self.people if self._is_in(who, group)]
            case ["users"]:
                number = query["q"][0].partition(":")[2]
                return 200, [self._user(who) for who, uid in self.uids.items() if uid == number]
            case ["users", account]:
                return 200, self._user(account)
            case ["admin-events"]:
                return 200, [{"time": self._changes}]
            case ["events"]:
                return 200, []
        return 404, {"error": path}

    def _vos(self) -> set[str]:
        return {group.split("/")[1] for _, groups in self.people.values() for group in groups}

    def _is_in(self, account: str, group: str) -> bool:
        return f"/{group.replace('~', '/')}" in self.people[account][1]

    def _user(self, account: str) -> dict[str, Any]:
        uid = {"uid": [self.uids[account]]} if account in self.uids else {}
        return {"id": account, "username": self.people[account][0], "enabled": True, "attributes": uid}


def _handler(made: KeycloakServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            made.asked += 1
            asked = urlsplit(self.path)
            self._say(*made.answer(unquote(asked.path), parse_qs(asked.query)))

        def do_POST(self) -> None:
            made.asked += 1
            self._read()
            self._say(200, {"access_token": "x", "refresh_token": "x", "expires_in": 600, "refresh_expires_in": 600})

        def do_PUT(self) -> None:
            made.asked += 1
            given = json.loads(self._read())
            if made.fault is Fault.NONE:
                made.uids[self.path.rpartition("/")[2]] = given["attributes"]["uid"][0]
            self._say(204, None)

        def _read(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"]))

        def _say(self, status: int, body: Any) -> None:
            if made.fault in (Fault.AWAY, Fault.SILENT):  # connections that were there go on otherwise
                if made.fault is Fault.SILENT:
                    made.wait_over()
                self.close_connection = True
                return
            status, written, length = _spoilt(made.fault, self.path, status, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status != 204:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(written)
            self.close_connection = self.close_connection or len(written) < length

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


def _spoilt(fault: Fault, path: str, status: int, body: Any) -> tuple[int, bytes, int]:
    """Status, body and said length of an answer."""
    written = b"" if body is None else json.dumps(body).encode()
    length = len(written)
    listed = {Fault.EMPTY: "/members", Fault.OTHER: "/members", Fault.NO_ROLES: "/children"}.get(fault)
    if fault is Fault.FAILS:
        status, written = 503, b"<html>no server is available</html>"
    elif listed and listed in path:
        written = b"{}" if fault is Fault.OTHER else b""
    if fault is Fault.HALF:
        return status, written[: length // 2], length
    return status, written, len(written)


@contextmanager
def keycloak_server(folder: Path) -> Iterator[KeycloakServer]:
    """One, while the block runs; `folder` is also what the authorizer's login reads."""
    authority = new_authority("issuer")
    for name, text in {**authority.issue(["127.0.0.1"]), "client-secret": "password\n"}.items():
        (folder / name).write_text(text)
    made = KeycloakServer(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()
