"""Slurm's REST daemon, asked once with an HPC centre's token."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from primage.errors import ExitCode, PrimageError


def slurm_release(url: str, username: str, token: str, authority: Path | None, *, timeout_s: float) -> str:
    """Slurm's version, as slurmrestd at `url` tells this account.

    Args:
        url: https, as a site's settings have it.
        authority: certificates that the daemon's own is checked against, PEM; without it the usual ones.

    Raises:
        PrimageError: no answer, a refusal, or an answer that is not slurmrestd's.
    """
    headers = {"X-SLURM-USER-NAME": username, "X-SLURM-USER-TOKEN": token}
    request = urllib.request.Request(f"{url}/slurm/v0.0.38/diag/", headers=headers)  # noqa: S310  # its pattern says https
    try:
        trust = ssl.create_default_context(cafile=str(authority) if authority else None)
        with urllib.request.urlopen(request, timeout=timeout_s, context=trust) as answer:  # noqa: S310
            return str(json.load(answer)["meta"]["Slurm"]["release"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PrimageError(f"slurmrestd at {url} does not answer: {error}", code=ExitCode.UNREACHABLE) from error
