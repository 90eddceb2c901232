"""Credentials for an HPC backend: tried first, then kept in the namespace's Secret, where only the connector reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from primage.clients.cluster import Object
from primage.clients.slurmrestd import slurm_release
from primage.clients.ssh import LoginNode
from primage.contract.hpc import backend_object
from primage.contract.names import CREDENTIALS_MANAGER, LABEL_MADE_BY, MADE_BY_SITE, namespace_for
from primage.errors import ExitCode, PrimageError
from primage.operations.site import site_handle

LOGIN_TIMEOUT_S = 60
SAY = "command -v sbatch > /dev/null && sinfo --version && id -un"


@dataclass(frozen=True)
class Login:
    """What an HPC centre gave a VO: files, none of which is ever printed or kept elsewhere.

    Attributes:
        username: the account that the VO's jobs are mapped to.
        key: private key, OpenSSH.
        known_hosts: lines with the login node's host keys.
        certificate: OpenSSH certificate of the key, where the centre uses them.
        proxy: grid proxy credential, PEM, where the centre uses them.
        token: JSON Web Token for slurmrestd (`scontrol token`), where the backend has it.
        authority: certificates that slurmrestd's own is checked against, PEM; without it the usual ones.
    """

    username: str
    key: Path
    known_hosts: Path
    certificate: Path | None = None
    proxy: Path | None = None
    token: Path | None = None
    authority: Path | None = None

    def data(self) -> dict[str, str]:
        """The Secret's keys; raises PrimageError for a file that cannot be read."""
        files = {
            "ssh-privatekey": self.key,
            "known_hosts": self.known_hosts,
            "ssh-certificate": self.certificate,
            "proxy": self.proxy,
            "slurm-token": self.token,
            "ca.crt": self.authority,
        }
        try:
            return {"username": self.username, **{name: path.read_text() for name, path in files.items() if path}}
        except (OSError, UnicodeDecodeError) as error:
            raise PrimageError(
                f"the credentials cannot be read: {error}", todo="name files that hold them", code=ExitCode.INVALID
            ) from error


def login(site: str, vo: str, backend: str, given: Login, *, member: str = "", test: bool = True) -> str:
    """Try the login, then keep it; returns what the HPC machine said of itself.

    Args:
        member: whose it is, `name@domain.tld`; empty for the VO's own.

    Raises:
        PrimageError: no such VO, member or backend, or the login fails; nothing is changed then.
    """
    standing, here = site_handle(site), namespace_for(member) if member else ""
    namespace = standing.place(vo, here).namespace
    # From the site's own settings: its config map in the namespace is for people, and members may edit it.
    found = standing.outputs.hpc.get(backend) if backend in standing.outputs.vos[vo].backends else None
    if found is None:
        known = ", ".join(standing.outputs.vos[vo].backends) or "none"
        raise PrimageError(
            f"VO {vo} has no HPC backend {backend} on site {site}; it has {known}",
            where=f"Pulumi.{site}.yaml, hpc.backends",
            todo=f"add it there and run `primage up {site}`",
            code=ExitCode.INVALID,
        )
    data = given.data()
    endpoint, rest = found.endpoint, found.slurmrestd
    if rest and not given.token:
        raise PrimageError(
            f"backend {backend} is asked by slurmrestd, which wants a token",
            code=ExitCode.INVALID,
            todo="ask the centre for one (`scontrol token username=…` there), and name its file with --token",
        )
    said = "not tried"
    if test:
        said = _try_rest(rest, endpoint, given) if rest else _try(endpoint, given)
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "stringData": data,
        "metadata": {
            "name": backend_object(backend),
            "namespace": namespace,
            "labels": {"primage.eu/backend": backend, LABEL_MADE_BY: MADE_BY_SITE},
        },
    }
    standing.cluster.apply(secret, manager=CREDENTIALS_MANAGER, force=True)
    return said


def _try_rest(url: str, endpoint: str, given: Login) -> str:
    """Slurm's version by its REST daemon, and the account's home by SFTP."""
    assert given.token
    try:
        slurm = slurm_release(url, given.username, given.token.read_text().strip(), given.authority, timeout_s=LOGIN_TIMEOUT_S)
    except PrimageError as error:
        raise PrimageError(
            f"{error.what}; it was asked as {given.username} with this token",
            todo="see docs/runbooks/hpc-login-refused.md; nothing was changed",
            code=ExitCode.UNREACHABLE,
        ) from error
    return f"slurm {slurm}\n{_try(endpoint, given, sftp=True)}"


def _try(endpoint: str, given: Login, *, sftp: bool = False) -> str:
    node = LoginNode(endpoint, given.username, given.key, given.known_hosts, given.certificate)
    try:
        return node.home(timeout_s=LOGIN_TIMEOUT_S) if sftp else node.say(SAY, timeout_s=LOGIN_TIMEOUT_S)
    except PrimageError as error:
        raise PrimageError(
            f"{given.username} cannot log in at {endpoint}, or what jobs need is not there: {error.what}",
            todo="see docs/runbooks/hpc-login-refused.md; nothing was changed",
            code=ExitCode.UNREACHABLE,
        ) from error
