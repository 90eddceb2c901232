"""`python -m hpc_connector.home SOCKET FOLDER UID GID`: reads and writes the private folders in FOLDER, until it is told to end.

Listens on a socket in a folder that only the connector's container has. Each connection is for one private folder, and served by a
process of its own, which has become that folder's owner before it looks at anything. UID and GID are those of the VO's own pods.

The first line names the folder. Every other one is a question, a JSON object with the name of an operation and what it takes, and
is followed by as many bytes as its `bytes` says. So is the answer, an object with `value`, or with `error`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import socketserver
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpc_connector.domain.errors import RefusedError, UnavailableError
from hpc_connector.home.files import Files
from hpc_connector.home.owner import become_owner

LONGEST = 4 << 20
"""Bytes of a question: a thousand paths of a job's, each spelled out as JSON does at worst."""
MOST_BYTES = 4 << 20
"""That follow one."""
IDLE_S = 60.0
"""Until a connection that is not used ends, and its process with it."""
PROCESSES = 48
"""At a time; who comes later waits until one ends."""


class Home:
    """The operations, by name, on one private folder."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def do(self, asked: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
        """Do what is asked; returns a value, and bytes.

        Raises:
            ValueError, KeyError, TypeError: it is no operation.
            RefusedError, UnavailableError: it cannot be done.
        """
        match asked["do"]:
            case "files":
                return self._files.files(tuple(map(str, asked["paths"]))), b""
            case "size":
                return self._files.size(_path(asked)), b""
            case "digest":
                return self._files.digest(_path(asked)), b""
            case "read":
                return None, self._files.read(_path(asked), _number(asked, "offset"), min(_number(asked, "most"), MOST_BYTES))
            case "tail":
                return None, self._files.tail(_path(asked), min(_number(asked, "most"), MOST_BYTES))
            case _:
                self._change(asked, data)
                return None, b""

    def _change(self, asked: dict[str, Any], data: bytes) -> None:
        match asked["do"]:
            case "write_at":
                self._files.write_at(_path(asked), _number(asked, "offset"), data)
            case "replace":
                self._files.replace(str(asked["part"]), _path(asked))
            case "remove":
                self._files.remove(_path(asked))
            case other:
                raise ValueError(f"{other!r} is no operation")


def _path(asked: dict[str, Any]) -> str:
    return str(asked["path"])


def _number(asked: dict[str, Any], key: str) -> int:
    found: Any = asked[key]
    if not isinstance(found, int) or found < 0:
        raise ValueError(f"{key} is no number")
    return found


class Handler(socketserver.StreamRequestHandler):
    """One connection, in a process of its own that dies with it."""

    timeout = IDLE_S
    server: Server

    def handle(self) -> None:
        """Answer until there are no more questions."""
        with suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
            self._serve()

    def _serve(self) -> None:
        line = self.rfile.readline(LONGEST)
        if not line:
            return  # somebody wanted to know whether anybody listens
        name = str(json.loads(line)["folder"])
        try:
            home = Home(Files(become_owner(self.server.root, name, self.server.vo_uid, self.server.vo_gid)))
        except OSError as error:
            words = f"HOME of {name} cannot be entered: {error.strerror or error}"
            self._say({"error": {"kind": "unavailable", "reason": "HomeUnavailable", "message": words}})
            return
        self._say({"value": None})
        threading.Thread(target=_end_with, args=(self.connection,), daemon=True).start()
        while line := self.rfile.readline(LONGEST):
            self._answer(home, json.loads(line))

    def _answer(self, home: Home, asked: dict[str, Any]) -> None:
        data = self.rfile.read(min(_number(asked, "bytes"), MOST_BYTES))
        try:
            value, found = home.do(asked, data)
        except RefusedError as error:
            self._say({"error": {"kind": "refused", "reason": error.reason, "message": str(error)}})
        except UnavailableError as error:
            self._say({"error": {"kind": "unavailable", "reason": error.reason, "message": str(error)}})
        else:
            self._say({"value": value}, found)

    def _say(self, said: dict[str, Any], data: bytes = b"") -> None:
        self.wfile.write(json.dumps({**said, "bytes": len(data)}).encode() + b"\n" + data)


def _end_with(connection: socket.socket) -> None:
    """End this process once nobody is at the other end: a file may be read for days, in a place that others need."""
    looked_at = select.poll()
    looked_at.register(connection, 0)  # that it was closed is told in any case
    looked_at.poll()
    os._exit(0)


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Listens at `path` for who wants to read or write in a folder of `root`.

    Attributes:
        root: descriptor of the folder that all private ones are in.
    """

    request_queue_size = 1024  # all that a VO's connector may open at once
    max_children = PROCESSES
    block_on_close = False

    def __init__(self, path: Path, root: Path, vo_uid: int, vo_gid: int) -> None:
        with suppress(FileNotFoundError):
            path.unlink()
        super().__init__(str(path), Handler)
        path.chmod(0o660)  # the folder's group, which its set-group-ID bit has given the socket, is the connector's
        self.root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.vo_uid, self.vo_gid = vo_uid, vo_gid

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In a connection's own process, where nobody listens: who connects is not to wait for one that is ending."""
        self.socket.close()
        super().finish_request(request, client_address)


if __name__ == "__main__":
    os.umask(0o007)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container is not ended by it otherwise
    with Server(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])) as listening:
        listening.serve_forever()
