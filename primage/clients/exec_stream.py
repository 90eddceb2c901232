"""A command in a pod with bytes in and bytes out, by the API server (Kubernetes' exec, `v4.channel.k8s.io`).

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ (connect GET exec)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from primage.clients.unreachable import BROKE, in_words
from primage.errors import ExitCode, PrimageError

STDIN, STDOUT, STDERR, STATUS = 0, 1, 2, 3
SAID = 4000
"""Most characters of standard error that are kept for a message."""
SILENCE_S = 600
"""How long a command may take nothing and write nothing: whoever may enter the pod may have stopped it."""


def exchange(socket: Any, given: Iterable[bytes], what: str) -> Iterator[bytes]:
    """Send all of `given` to a command's standard input; yield what it writes to standard output until it ends.

    The protocol cannot close standard input alone, so the command must know how much to read.

    Raises:
        PrimageError: the command fails (with its last words), or the connection breaks.
    """
    from websocket import WebSocketException

    said = ""
    socket.settimeout(SILENCE_S)
    try:
        for piece in given:
            socket.send_binary(bytes([STDIN]) + piece)
        while frame := socket.recv():
            channel, data = frame[0], frame[1:]
            if channel == STDOUT and data:
                yield data
            elif channel == STDERR:
                said = (said + data.decode("utf-8", "replace"))[-SAID:]
            elif channel == STATUS:
                _require_success(json.loads(data), said, what)
                return
    except (WebSocketException, OSError) as error:
        raise _cut_off(what, in_words(error)) from error
    except ValueError as error:
        raise _cut_off(what, "the answer is not Kubernetes' own") from error
    finally:
        socket.shutdown()
    raise _cut_off(what, BROKE)


def _cut_off(what: str, why: str) -> PrimageError:
    return PrimageError(
        f"{what} did not finish: {why}",
        todo="run the same command again: it continues where it stopped",
        code=ExitCode.UNREACHABLE,
    )


def _require_success(status: dict[str, Any], said: str, what: str) -> None:
    if status.get("status") == "Success":
        return
    words = said.strip().splitlines()
    raise PrimageError(f"{what} failed: {words[-1] if words else status.get('message', 'no reason given')}")
