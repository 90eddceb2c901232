"""A port of this machine's loopback that leads to a port on a pod's loopback, by the API server."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from primage.clients.cluster import Cluster, Ref

CHUNK = 1 << 16
DATA, ERROR = b"\x00", 1
log = logging.getLogger(__name__)


class PortForward:
    """Listens while it is entered; each connection is a web socket of its own.

    Args:
        local: port here; 0 for any that is free.

    Raises:
        OSError: on entering, when the port here is taken.
    """

    def __init__(self, cluster: Cluster, pod: Ref, port: int, *, local: int = 0) -> None:
        self._server: socketserver.ThreadingTCPServer
        self._dial = lambda: cluster.dial(pod, port)
        self._local = local

    @property
    def port(self) -> int:
        """The port here."""
        return int(self._server.server_address[1])

    def __enter__(self) -> PortForward:
        dial = self._dial

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                _carry(self.request, dial)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", self._local), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def _carry(here: socket.socket, dial: Any) -> None:
    """Both directions until either side is done; whoever asked sees a closed connection when the pod cannot be reached."""
    from websocket import WebSocketException

    from primage.errors import PrimageError

    try:
        there = dial()
    except PrimageError as error:
        log.warning("%s", error)
        return
    outward = threading.Thread(target=_send, args=(here, there), daemon=True)
    outward.start()
    try:
        _receive(here, there)
    except (WebSocketException, OSError) as error:
        log.debug("a forwarded connection ended: %s", error)
    finally:
        # Wakes the other thread, which may wait for more from here.
        with suppress(OSError):
            here.shutdown(socket.SHUT_RDWR)
        outward.join()
        with suppress(OSError):
            there.shutdown()


def _send(here: socket.socket, there: Any) -> None:
    from websocket import WebSocketException

    try:
        while data := here.recv(CHUNK):
            there.send_binary(DATA + data)
        # Not `close`, which waits for the answer: the other thread reads, and two readers would share one stream.
        there.send_close()
    except (WebSocketException, OSError) as error:
        log.debug("a forwarded connection ended: %s", error)


def _receive(here: socket.socket, there: Any) -> None:
    begun: set[int] = set()
    while True:
        frame: bytes = there.recv()
        if not frame:
            return
        channel = frame[0]
        if channel not in begun:  # the port's number
            begun.add(channel)
        elif channel == ERROR:
            log.warning("the pod's port cannot be reached: %s", frame[1:].decode("utf-8", "replace"))
            return
        else:
            here.sendall(frame[1:])
