"""This host, as a site must leave it: read without a tool that only a site brings."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from primage.local.images import storage

SITES_NETWORK = "004D590A"
"""10.89.77.0, as the kernel writes addresses of routes."""


@dataclass(frozen=True)
class Host:
    """Interfaces, routes, firewall rules (without counters) and mounts."""

    links: list[str]
    routes: list[str]
    rules: list[str]
    mounts: list[str]

    @staticmethod
    def now() -> Host:
        """The host as it is."""
        routes = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
        return Host(
            links=sorted(path.name for path in Path("/sys/class/net").iterdir()),
            routes=sorted(f"{link} {network} {gateway} {mask}" for link, network, gateway, _, _, _, _, mask, *_ in routes),
            rules=_rules(),
            mounts=sorted(Path("/proc/self/mounts").read_text().splitlines()),
        )

    @property
    def has_site(self) -> bool:
        """Whether the local site stands, or a part of it."""
        return any(SITES_NETWORK in route for route in self.routes) or bool(front())


def _rules() -> list[str]:
    if shutil.which("iptables-save") is None:
        return []
    said = subprocess.run(["iptables-save"], capture_output=True, text=True, timeout=60, check=True).stdout
    return sorted(line.strip() for line in said.splitlines() if line.startswith("-A"))


def front() -> str:
    """The identity of the local site's first machine; empty when there is none."""
    if shutil.which("podman") is None:
        return ""
    command = ["podman", "inspect", "--format", "{{.Id}}", "primage-local-front"]
    environment = {**os.environ, **storage.environment()}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment).stdout.strip()
