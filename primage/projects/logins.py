"""Where a person's login to a site is kept on their machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from primage.errors import ExitCode, PrimageError
from primage.paths import home_dir

_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class LoginFiles:
    """A folder that nobody else reads.

    Attributes:
        folder: with the token that the next one is got with, and a kubeconfig without any secret in it.
    """

    folder: Path

    @property
    def token(self) -> Path:
        """The refresh token, and whom it is shown to."""
        return self.folder / "login.json"

    @property
    def kubeconfig(self) -> Path:
        """For primage, kubectl and everything else that reads such files."""
        return self.folder / "kubeconfig"


def login_files(site: str) -> LoginFiles:
    """Those of a site, whether somebody has logged in or not.

    Raises:
        PrimageError: that is not a site's name.
    """
    if not _SITE.fullmatch(site):
        raise PrimageError(f"{site!r} is not a site's name", todo="name one that Pulumi.<site>.yaml describes", code=ExitCode.USAGE)
    return LoginFiles(home_dir() / "logins" / site)
