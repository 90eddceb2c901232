"""Where a session's login proxy keeps who has logged in: a Redis beside it, which only that pod reaches and which ends with it."""

from __future__ import annotations

from typing import Any

from primage.components.sessions.sidecar import sidecar

IMAGE = "primage/queue:1"
FOLDER = "/run/login/memory"
SOCKET = f"{FOLDER}/redis.sock"
VOLUME = "logins"


def container(image: str) -> dict[str, Any]:
    """The Redis."""
    options = {"port": "0", "unixsocket": SOCKET, "save": "", "maxmemory": "8mb", "maxmemory-policy": "allkeys-lru"}
    command = ["redis-server", *(part for key, value in options.items() for part in (f"--{key}", value))]
    return sidecar("logins", image, ("5m", "8Mi"), ("50m", "24Mi"), command=command, volumeMounts=[mount()])


def mount() -> dict[str, Any]:
    """Where its socket is, for the proxy too."""
    return {"name": VOLUME, "mountPath": FOLDER}


def volume() -> dict[str, Any]:
    """What holds its socket."""
    return {"name": VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
