"""PostgreSQL beside a server that keeps its data in it, in the same pod, on its loopback (images/postgresql)."""

from __future__ import annotations

from typing import Any

from primage.contract.pod_security import container_security

START_S = 300


def postgresql(image: str, database: str, password_file: str, connections: int, given: dict[str, str]) -> dict[str, Any]:
    """A sidecar: it is there before the others, and until after them.

    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/

    It finds its data on volume `database`; the pod also has a volume `passwords`, and an empty one `database-tmp`.

    Args:
        database: its name, and that of the user who may everything.
        password_file: that user's password, below /passwords.
        given: volumes with further secrets, by the variable that says where they are mounted.
    """
    environment = {
        "DATABASE": database,
        "PASSWORD_FILE": f"/passwords/{password_file}",
        **{variable: f"/{volume}" for variable, volume in given.items()},
        "CONNECTIONS": str(connections),
    }
    ready = {"exec": {"command": ["pg_isready", "--quiet", "--host=127.0.0.1"]}, "periodSeconds": 2}
    return {
        "name": "postgresql",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "startupProbe": {**ready, "failureThreshold": START_S // 2},
        "resources": {"requests": {"cpu": "10m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "database", "mountPath": "/data"},
            {"name": "passwords", "mountPath": "/passwords", "readOnly": True},
            *({"name": volume, "mountPath": f"/{volume}", "readOnly": True} for volume in given.values()),
            {"name": "database-tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
