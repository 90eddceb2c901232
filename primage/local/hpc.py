"""The local HPC machine's accounts, given to the VOs' connectors as an operator would with `primage hpc login`."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from primage.clients.cluster import Cluster, Ref
from primage.contract.accounts import member_account, vo_account
from primage.contract.hpc import backend_object
from primage.contract.names import LABEL_MADE_BY, MADE_BY_SITE, namespace_for
from primage.contract.outputs import VoOutputs
from primage.local.images import storage
from primage.operations.hpc_login import Login, login
from primage.operations.site import site_handle
from primage.paths import local_site_dir
from primage.process import capture

SITE = "local"
BACKEND = "hpc"
REST_BACKEND = "hpc-rest"
MACHINE = "primage-local-hpc"
TOKEN_S = 30 * 86400
"""A token for slurmrestd cannot be taken back, so it ends soon; every `primage site local up` makes another in its second half."""


def connect(log: Path, report: Callable[[str], None]) -> None:
    """Log every VO and member in whose connector has not these very credentials yet."""
    site = site_handle(SITE)
    folder = local_site_dir() / "ssh"
    hosts = _known_hosts(folder, site.outputs.hpc[BACKEND].endpoint, log.parent)
    for vo, served in site.outputs.vos.items():
        for member, account in accounts(served).items():
            whose = member or vo
            for backend in served.backends:
                report(whose)
                given = Login(account, folder / f"hpc-{whose}", hosts)
                if backend == REST_BACKEND:
                    given = replace(given, token=_token(folder, account), authority=_authority(folder))
                if not _has(site.cluster, backend, namespace_for(whose), given):
                    said = login(SITE, vo, backend, given, member=member)
                    with log.open("a") as stream:
                        print(f"{whose}, {backend}: {said}", file=stream)


def accounts(vo: VoOutputs) -> dict[str, str]:
    """The accounts there of a VO and of its members, by the member's identity; the VO's own under the empty one."""
    return {"": vo_account(vo.gid), **{name: member_account(user.uid) for name, user in vo.users.items()}}


def _known_hosts(folder: Path, address: str, out: Path) -> Path:
    """The HPC machine's line alone: what the connector pins."""
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
    """Seconds until a kept token ends, by its claim `exp` (RFC 7519); 0 if there is none, or if what is kept is not a token."""
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
    secret = cluster.get(Ref("v1", "Secret", backend_object(backend), namespace)) or {}
    if (secret.get("metadata", {}).get("labels") or {}).get(LABEL_MADE_BY) != MADE_BY_SITE:
        return False  # an older one, which its tenant may still change
    kept = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
    return kept == given.data()
