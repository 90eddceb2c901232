"""What the local site leaves in the folder that it shares with other sites operated from this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from primage.contract.names import SITE_PROJECT
from primage.errors import PrimageError
from primage.paths import home_dir, local_site_dir, log_dir, state_dir
from primage.projects.logins import login_files
from primage.projects.project import parse_stack_name


def remove_files(site: str, logs: Iterable[str]) -> None:
    """Remove a site's own folder, its stacks' state and these logs; folders go only when nothing else is in them."""
    shutil.rmtree(local_site_dir(), ignore_errors=True)
    shutil.rmtree(login_files(site).folder, ignore_errors=True)
    for path in state_dir().glob("*/*"):
        if path.is_file() and _site_of(path) == site:
            path.unlink()
    for name in logs:
        (log_dir() / name).unlink(missing_ok=True)
    for folder in [*state_dir().glob("*"), state_dir(), log_dir(), home_dir() / "logins", home_dir()]:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _site_of(path: Path) -> str:
    """The site whose stack a file in the state's folder is about; nothing for a file that is about no stack."""
    stack = path.stem if path.parent.name == SITE_PROJECT else f"{path.parent.name}/{path.stem}"
    try:
        return parse_stack_name(stack).site
    except PrimageError:
        return ""
