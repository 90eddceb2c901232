"""The local HPC machine's accounts, given to the VOs' connectors as an operator would with `primage hpc login`."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml

from primage.clients.cluster import Cluster, Ref
from primage.contract.outputs import SiteOutputs
from primage.engine.embedded.engine import EmbeddedEngine
from primage.local.images import storage
from primage.names import LABEL_MADE_BY, MADE_BY_SITE, namespace_for
from primage.operations.hpc_login import Login, login
from primage.paths import local_site_dir
from primage.process import capture
from primage.projects.project import StackName

SITE = "local"
BACKEND = "hpc"
REST_BACKEND = "hpc-rest"
MACHINE = "primage-local-hpc"
TOKEN_S = 30 * 86400
"""A token for slurmrestd cannot be taken back, so it ends soon; every `primage site local up` makes another in its second half."""


def connect(repository: Path, log: Path, report: Callable[[str], None]) -> None:
    """Log every VO and member in whose connector has not these very credentials yet."""
    settings = yaml.safe_load((repository / f"Pulumi.{SITE}.yaml").read_text())["config"]["primage:site"]
    outputs = SiteOutputs.model_validate(EmbeddedEngine().outputs(StackName(SITE))["site"])
    cluster = Cluster(outputs.kubeconfig, outputs.context)
    folder = local_site_dir() / "ssh"
    hosts = _known_hosts(folder, settings, log.parent)
    for vo in settings["vos"]:
        backends = outputs.vos[vo["name"]].backends
        # The accounts' names are the inventory's: one for each VO, told apart by its group, and one for each member.
        accounts = {"": f"vo{vo['gid']}", **{user["name"]: f"u{user['uid']}" for user in vo.get("users", [])}}
        for member, account in accounts.items():
            whose = member or vo["name"]
            for backend in backends:
                report(whose)
                given = Login(account, folder / f"hpc-{whose}", hosts)
                if backend == REST_BACKEND:
                    given = replace(given, token=_token(folder, account), authority=_authority(folder))
                if not _has(cluster, backend, namespace_for(whose), given):
                    said = login(SITE, vo["name"], backend, given, member=member)
                    with log.open("a") as stream:
                        print(f"{whose}, {backend}: {said}", file=stream)


def _known_hosts(folder: Path, settings: dict[str, object], out: Path) -> Path:
    """The HPC machine's line alone: what the connector pins."""
    backends = settings["hpc"]["backends"]  # type: ignore[index]
    address = next(b["endpoint"] for b in backends if b["name"] == BACKEND)
    lines = [line for line in (folder / "known_hosts").read_text().splitlines() if line.startswith(f"{address} ")]
    path = out / "hpc-known-hosts"
    path.write_text("\n".join(lines) + "\n")
    return path


def _token(folder: Path, account: str) -> Path:
    """A file with a token for slurmrestd that holds for a while; the HPC machine's operator would hand it over."""
    path = folder / f"{account}.token"
    if not TOKEN_S / 2 < token_left_s(path, time.time()) <= TOKEN_S:
        said = _on_machine("scontrol", "token", f"username={account}", f"lifespan={TOKEN_S}")
        path.touch(mode=0o600)
        path.write_text(said.strip().removeprefix("SLURM_JWT="))
    return path


def token_left_s(path: Path, now: float) -> float:
    """Seconds until a kept token ends, by its claim `exp` (RFC 7519); 0 where there is none, or what is kept is no token."""
    try:
        payload = path.read_text().split(".")[1]
        end = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return max(0.0, float(end) - now)
    except (OSError, ValueError, LookupError, TypeError):
        return 0.0


def _authority(folder: Path) -> Path:
    path = folder / "slurmrestd.crt"
    path.write_text(_on_machine("cat", "/etc/slurm/rest.crt"))
    return path


def _on_machine(*command: str) -> str:
    return capture(["podman", "exec", MACHINE, *command], env=storage.environment())


def _has(cluster: Cluster, backend: str, namespace: str, given: Login) -> bool:
    secret = cluster.get(Ref("v1", "Secret", f"backend-{backend}", namespace)) or {}
    if (secret.get("metadata", {}).get("labels") or {}).get(LABEL_MADE_BY) != MADE_BY_SITE:
        return False  # an older one, which its tenant may still change
    kept = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
    return kept == given.data()
