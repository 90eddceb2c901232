"""HPC centres, as the contract describes them: which one a job means, and where its working folders are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpc_connector.domain.errors import RefusedError
from hpc_connector.domain.text import readable
from primage.contract.hpc import VARIABLE, Backend


def expanded(scratch: str, values: dict[str, str]) -> str | None:
    """A backend's scratch folder, for an account of which these variables are known; None where that is not enough."""
    names = {match.group().strip("${}") for match in re.finditer(VARIABLE, scratch)}
    if not names <= values.keys():
        return None
    text = re.sub(VARIABLE, lambda match: values[match.group().strip("${}")], scratch)
    return values["HOME"] + text[1:] if text.startswith("~") else text


def backend_for(host: str, backends: Sequence[Backend]) -> Backend:
    """The backend a job names, by its name or its ENDPOINT; raises RefusedError."""
    for backend in backends:
        if host in {backend.name, backend.endpoint}:
            return backend
    known = ", ".join(backend.name for backend in backends) or "none"
    raise RefusedError("UnknownBackend", f"this VO has no HPC backend {readable(host, 80)!r}; it has {known}")
