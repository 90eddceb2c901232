"""What is written to a control plane's store, every revision of it in order, whether or not an API server runs meanwhile.

https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/#watch-keys; the API server has to be started with JSON_STORED.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests

JSON_STORED = "--storage-media-type=application/json"
PREFIX = "/registry/"
BEGIN_S = 30


@contextmanager
def watching(store: str, kinds: tuple[str, ...], tell: Callable[[str, dict[str, Any] | None], None]) -> Iterator[None]:
    """Have each change told from now on: the key without its prefix, and the object, or None for one that is gone.

    Args:
        store: URL of etcd.
        kinds: beginnings of the keys that are told.
    """
    asked = {"create_request": {"key": _coded(PREFIX), "range_end": _coded(f"{PREFIX[:-1]}0")}}  # up to the next character
    with requests.post(f"{store}/v3/watch", data=json.dumps(asked), stream=True, timeout=(BEGIN_S, None)) as answer:
        lines = answer.iter_lines(chunk_size=None)
        next(lines)  # it has begun

        def read() -> None:
            with suppress(requests.RequestException, AttributeError, ValueError):  # it is closed under our hands
                for line in lines:
                    for event in json.loads(line)["result"].get("events", []):
                        key = base64.b64decode(event["kv"]["key"]).decode().removeprefix(PREFIX)
                        if key.startswith(kinds):
                            tell(key, _object(event))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield
        assert reader.is_alive(), "the watch has ended, and what it would have told is not known"


def _object(event: dict[str, Any]) -> dict[str, Any] | None:
    value = event["kv"].get("value", "")
    return None if event.get("type") == "DELETE" else dict(json.loads(base64.b64decode(value)))


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
