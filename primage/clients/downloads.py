"""Files of release servers and mirrors, over HTTP: bounded in time and size, and believed by their SHA-256 alone."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from primage.errors import PrimageError

ANSWER_S = 5
"""Whoever has not answered by then is not there."""
STALL_S = 30
MOST_BYTES = 1 << 30
CHUNK = 1 << 20


class NotServedError(Exception):
    """The server has no such file, or does not answer: what is asked of it can be had some other way.

    Attributes:
        answered: whether there was an answer, so that it is worth asking for another file.
    """

    def __init__(self, why: str, *, answered: bool) -> None:
        super().__init__(why)
        self.answered = answered


class WrongDigestError(PrimageError):
    """The server has another file than the one that was pinned."""


def download(url: str, target: Path, sha256: str, on_bytes: Callable[[int], None] = lambda _: None) -> None:
    """Fetch a file; it is in place only when its SHA-256 is the one that was asked for.

    Raises:
        NotServedError: no answer within seconds, an answer other than the file, or the connection broke.
        WrongDigestError: it is another file.
    """
    if not url.startswith(("https://", "http://")):
        raise NotServedError(f"{url} is not the URL of a web server", answered=False)
    part = target.with_name(f".{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer, part.open("wb") as out:  # noqa: S310  # the scheme is checked
            _wait_longer(answer)
            while data := answer.read(CHUNK):
                size += len(data)
                if size > MOST_BYTES:
                    raise NotServedError(f"{url} is larger than {MOST_BYTES >> 20} MiB", answered=True)
                digest.update(data)
                out.write(data)
                on_bytes(size)
        if digest.hexdigest() != sha256:
            raise WrongDigestError(
                f"{url} is not the file that was pinned: its SHA-256 is {digest.hexdigest()}, not {sha256}",
                todo="find out who changed it; nothing of it was used",
            )
        part.replace(target)
    except urllib.error.HTTPError as error:
        raise NotServedError(f"{url}: HTTP {error.code}", answered=True) from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise NotServedError(f"{url}: {reason}", answered=False) from error
    finally:
        part.unlink(missing_ok=True)


def _wait_longer(answer: http.client.HTTPResponse) -> None:
    """A server that has answered may take a while over a large file."""
    raw = getattr(answer.fp, "raw", None)
    sock = getattr(raw, "_sock", None)
    if sock is not None:
        sock.settimeout(STALL_S)
