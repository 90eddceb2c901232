"""Pulumi's own engine for tests: built into the tool cache when it is not there, with a language host of ours beside it."""

from __future__ import annotations

import sys
from pathlib import Path

from primage.local.toolchain.build import PULUMI_KUBERNETES_TOOLS, PULUMI_TOOLS

LANGUAGE_HOST = Path(__file__).with_name("pulumi_language_python.py")


def tools(folder: Path, log: Path) -> Path:
    """A folder for PATH: `pulumi`, the Kubernetes provider, and what runs programs."""
    folder.mkdir(parents=True)
    for sources in (PULUMI_TOOLS, PULUMI_KUBERNETES_TOOLS):
        built = sources.build(log, lambda _fraction, _what: None)
        for name in [tool.name for tool in sources.tools] + [script.name for script in sources.scripts]:
            (folder / name).symlink_to(built / name)
    host = folder / "pulumi-language-python"
    host.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{LANGUAGE_HOST}" "$@"\n')
    host.chmod(0o755)
    return folder


def environment(bin_folder: Path, home: Path, path: str) -> dict[str, str]:
    """What Pulumi is told: state in files below `home`, nothing fetched, nobody asked."""
    (home / "state").mkdir(parents=True)
    return {
        "PATH": f"{bin_folder}:{path}",
        "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
        "PULUMI_HOME": str(home),
        # Each process lives for seconds: looking for garbage would be a fifth of its work.
        "GOGC": "400",
        "PULUMI_CONFIG_PASSPHRASE": "only for tests",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
