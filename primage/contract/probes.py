"""How Kubernetes sees that a service of ours lives: it touches a file as long as its loops turn."""

from __future__ import annotations

from typing import Any

ALIVE = "/tmp/alive"  # noqa: S108  # inside the container
"""The file, which is touched every ten seconds whether there is anything to do or not."""
SILENT_MINUTES = 2


def probes(start_s: int) -> dict[str, Any]:
    """A container's `startupProbe` and `livenessProbe`.

    Args:
        start_s: seconds until it is started again when it has not come to its loops.
    """
    # A command in a container costs tens of milliseconds of processor time: often only until it has started.
    return {
        "startupProbe": {"exec": {"command": ["test", "-e", ALIVE]}, "periodSeconds": 1, "failureThreshold": start_s},
        "livenessProbe": {
            "exec": {"command": ["sh", "-c", f'test -n "$(find {ALIVE} -mmin -{SILENT_MINUTES})"']},
            "periodSeconds": 30,
            "timeoutSeconds": 10,
        },
    }
