"""What annotations say: those of Pulumi's Kubernetes provider, by which both engines apply and wait, and our own of sessions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from primage.contract.names import ANNOTATION_OPENS

SKIP_AWAIT = "pulumi.com/skipAwait"
TIMEOUT = "pulumi.com/timeoutSeconds"
WAIT_FOR = "pulumi.com/waitFor"
PATCH_FORCE = "pulumi.com/patchForce"
_OPENS = re.compile(r":(?P<port>[1-9][0-9]{0,4})(?P<path>/[A-Za-z0-9._~%/+-]{0,999})", re.ASCII)


def annotation(obj: Mapping[str, Any], name: str) -> str:
    """An annotation's value, empty when it is not there."""
    value = (obj.get("metadata", {}).get("annotations") or {}).get(name, "")
    return str(value)


def opens(job: Mapping[str, Any]) -> tuple[int, str] | None:
    """Port and path of the page that a session's Job says to open, which whoever may change the Job may have written."""
    found = _OPENS.fullmatch(annotation(job, ANNOTATION_OPENS))
    if found is None or int(found["port"]) > 65_535:
        return None
    return int(found["port"]), found["path"]
