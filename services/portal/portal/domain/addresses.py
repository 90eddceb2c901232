"""Where a browser may be sent after a login: to a page of the portal, and nowhere else."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

LONGEST = 512
HOME = "/"
_PLAIN = re.compile(r"/([A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)")


def local_path(text: str) -> str:
    """`text` where it is a path of the portal's own, else HOME.

    A browser reads `//host`, `/\\host` and paths with tabs in them as other hosts: what is not plain is not taken.
    """
    if len(text) > LONGEST or not _PLAIN.fullmatch(text) or text.startswith("//"):
        return HOME
    parts = urlsplit(text)
    return HOME if parts.scheme or parts.netloc or not parts.path.startswith("/") else text
