"""What is written down of each read and write of somebody's data.

An audit line is JSON, so that no name in it can look like another line. It has who, where and what, by pseudonym, and no answer.
"""

from __future__ import annotations

import json
import logging
from typing import Any

log = logging.getLogger("datasets")
_audit = logging.getLogger("audit")


def audit(**said: Any) -> None:
    """One line of who did what."""
    _audit.info("%s", json.dumps(said, ensure_ascii=True, sort_keys=True))
