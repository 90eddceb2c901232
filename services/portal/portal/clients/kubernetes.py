"""The API server as somebody in particular: with their own token, and never with one of the portal's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from primage.clients.cluster import Bounds, Cluster

BOUNDS = Bounds(objects=300, bytes_each=4 * 2**20)
"""Whoever may make objects decides how many there are and how large: nobody's may fill the memory that all share."""


class ApiServer:
    """Where it is.

    Args:
        server: its address; empty for that of the cluster that this runs in.
        authority: file with the certificates that vouch for it.
    """

    def __init__(self, server: str, authority: Path) -> None:
        self._server, self._authority = server, authority

    def kubeconfig(self, token: str) -> str:
        """A kubeconfig's text, with a person's token in it."""
        named: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "site",
            "clusters": [{"name": "site", "cluster": {"server": self._address(), "certificate-authority": str(self._authority)}}],
            "users": [{"name": "person", "user": {"token": token}}],
            "contexts": [{"name": "site", "context": {"cluster": "site", "user": "person"}}],
        }
        return json.dumps(named, indent=1) + "\n"

    def as_person(self, token: str) -> Cluster:
        """A connection as who the token is about."""
        return Cluster(self.kubeconfig(token), bounds=BOUNDS)

    def _address(self) -> str:
        if self._server:
            return self._server
        # What Kubernetes tells every container: https://kubernetes.io/docs/concepts/containers/container-environment/
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT_HTTPS"]
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
