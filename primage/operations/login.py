"""Logging in to a site, staying so, and logging out."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from primage.clients.openid import Issuer, Tokens
from primage.contract.login import GROUPS_CLAIM, IDENTITY_CLAIM, KUBECTL_CLIENT
from primage.errors import ExitCode, PrimageError
from primage.paths import named_file
from primage.projects.logins import login_files
from primage.projects.offer import site_settings

EXEC = "client.authentication.k8s.io/v1"


class Kept(BaseModel):
    """What a login leaves on the machine.

    Attributes:
        authority: file with the certificates that vouch for the issuer; empty for the usual ones.
        refresh_token: the one secret.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str
    authority: str
    refresh_token: str


@dataclass(frozen=True)
class LoggedIn:
    """What `primage login` reports."""

    site: str
    identity: str
    groups: tuple[str, ...]
    kubeconfig: Path

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        own = {"identity": self.identity, "groups": list(self.groups), "kubeconfig": str(self.kubeconfig)}
        return {"site": self.site, **own}


def log_in(site: str, *, device: bool, say: Callable[[str], None]) -> LoggedIn:
    """Log in, and keep what is needed to stay so.

    Args:
        device: with a browser of another machine.
        say: tells a person what to do.

    Raises:
        PrimageError: nobody logs in at this site, or it was refused.
    """
    settings = site_settings(site)
    kept = _nobody_yet(site, settings)
    issuer = _issuer(kept)
    if device:
        tokens = issuer.by_device(lambda url, code: say(f"Open {url}\nThe code is {code}"))
    else:
        tokens = issuer.by_browser(lambda url: _open(url, say))
    files = login_files(site)
    files.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(files.token):
        _keep(files.token, kept, tokens)
        kubeconfig = _kubeconfig(site, settings.cluster.server, _file(settings.cluster.authority), files.token)
        _write(files.kubeconfig, json.dumps(kubeconfig, indent=1) + "\n")
    return _told(site, tokens, files.kubeconfig)


def log_out(site: str) -> bool:
    """End a login; whether there was one.

    Raises:
        PrimageError: the identity provider cannot be told; the files are gone nevertheless.
    """
    files = login_files(site)
    if not files.token.exists():
        return False
    with _alone(files.token):
        try:
            kept = _read(files.token)
        finally:
            files.kubeconfig.unlink(missing_ok=True)
            files.token.unlink(missing_ok=True)
    _issuer(kept).forget(kept.refresh_token)
    return True


def exec_credential(file: Path) -> dict[str, Any]:
    """A token, as kubectl takes it from a program: https://kubernetes.io/docs/reference/config-api/client-authentication.v1/

    Each is got by the one before, and nobody uses one twice: so those who ask at the same time ask in turn.
    """
    if not file.exists():
        raise _no_login(file)
    with _alone(file):
        kept = _read(file)
        tokens = _issuer(kept).refresh(kept.refresh_token)
        _keep(file, kept, tokens)
    until = datetime.fromtimestamp(int(tokens.claims["exp"]), UTC)
    status = {"token": tokens.id_token, "expirationTimestamp": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {"apiVersion": EXEC, "kind": "ExecCredential", "status": status}


def issuer_of(site: str) -> Issuer:
    """The identity provider of a site; raises as `log_in` does."""
    return _issuer(_nobody_yet(site, site_settings(site)))


def portal_authority(site: str) -> str:
    """File with the certificates that vouch for a site's portal, which it has; empty for the usual ones."""
    folder = site_settings(site).login.portal.authority_folder
    return str(named_file(folder) / "ca.crt") if folder else ""


def _nobody_yet(site: str, settings: Any) -> Kept:
    if settings.login is None:
        raise PrimageError(
            f"nobody logs in at site {site}: its settings name no identity provider",
            where=f"Pulumi.{site}.yaml, login",
            todo="use the kubeconfig that the site's operators gave you",
            code=ExitCode.UNSUPPORTED,
        )
    return Kept(issuer=settings.login.issuer, authority=_file(settings.login.authority), refresh_token="")


def _issuer(kept: Kept) -> Issuer:
    return Issuer(kept.issuer, KUBECTL_CLIENT, kept.authority)


def _open(url: str, say: Callable[[str], None]) -> None:
    say(f"Log in at\n{url}")
    # Without a screen there are browsers too, which would take the terminal.
    if any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        webbrowser.open(url)


def _told(site: str, tokens: Tokens, kubeconfig: Path) -> LoggedIn:
    claims = tokens.claims
    groups = claims.get(GROUPS_CLAIM)
    return LoggedIn(
        site=site,
        identity=str(claims[IDENTITY_CLAIM]),
        groups=tuple(str(group) for group in groups) if isinstance(groups, list) else (),
        kubeconfig=kubeconfig,
    )


def _kubeconfig(site: str, server: str, authority: str, token: Path) -> dict[str, Any]:
    trusted = {"certificate-authority": authority} if authority else {}
    program = {
        "apiVersion": EXEC,
        "command": sys.executable,
        # -P: kubectl is run anywhere, and a folder must not say what `primage` is.
        "args": ["-P", "-m", "primage", "credential", str(token)],
        "interactiveMode": "Never",
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": site,
        "clusters": [{"name": site, "cluster": {"server": server, **trusted}}],
        "users": [{"name": site, "user": {"exec": program}}],
        "contexts": [{"name": site, "context": {"cluster": site, "user": site}}],
    }


def _file(path: str) -> str:
    """A file that settings name; empty for none."""
    return str(named_file(path)) if path else ""


def _read(file: Path) -> Kept:
    try:
        return Kept.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise _no_login(file) from error


def _no_login(file: Path) -> PrimageError:
    """Of a file whose folder has the site's name."""
    todo = f"run `primage login {file.parent.name}`"
    return PrimageError("there is no login to be renewed", where=str(file), todo=todo, code=ExitCode.UNREACHABLE)


def _keep(file: Path, kept: Kept, tokens: Tokens) -> None:
    _write(file, kept.model_copy(update={"refresh_token": tokens.refresh_token}).model_dump_json() + "\n")


def _write(file: Path, text: str) -> None:
    """Whole or not at all, and for nobody else to read."""
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    part.replace(file)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One process at a time."""
    with file.with_suffix(".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
