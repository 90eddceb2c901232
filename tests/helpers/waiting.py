"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from primage.clients.cluster import Cluster, Refused
from primage.contract import custom_resources as custom

Found = TypeVar("Found")


def until(what: str, probe: Callable[[], Found], timeout_s: float = 60, pause_s: float = 0.05) -> Found:
    """The first true answer of a probe."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := probe():
            return found
        time.sleep(pause_s)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def define_kinds(cluster: Cluster, manager: str) -> None:
    """Have an API server know VirtualOrganisations and Members, which it serves a moment later."""
    for obj in custom.definitions():
        cluster.apply(obj, manager=manager)
    until("the kinds are served", lambda: _served(cluster))


def _served(cluster: Cluster) -> bool:
    try:
        cluster.list(custom.API_VERSION, custom.MEMBER)
    except Refused:
        return False
    return True
