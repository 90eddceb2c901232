"""Images that are held for review: files in a folder that nothing else reads, each with what was found in it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from datasets.domain.errors import RefusedError
from datasets.domain.identifiers import Finding

MOST_BYTES = 20 * 1024 * 1024 * 1024
"""Of a VO's held images: some hundred of the largest."""
NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Held:
    """One.

    Attributes:
        name: SHA-256 of the image's file.
        disease: which case it belongs to, with the pseudonym.
    """

    name: str
    disease: str
    pseudonym: str
    findings: tuple[Finding, ...]


class HeldImages:
    """All of them, apart by VO.

    Args:
        most: bytes of files for each VO.
    """

    def __init__(self, folder: Path, most: int = MOST_BYTES) -> None:
        self._folder, self._most = folder, most

    def hold(self, vo: str, file: bytes, disease: str, pseudonym: str, findings: Sequence[Finding]) -> Held:
        """Keep an image; it is on the disk when this returns, and the same once more changes nothing.

        Raises:
            RefusedError: it cannot be written, or the VO has no room left; nothing is half there.
        """
        held = Held(hashlib.sha256(file).hexdigest(), disease, pseudonym, tuple(findings))
        folder = self._folder / vo
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            others = sum(one.stat().st_size for one in folder.glob("*.dcm") if one.stem != held.name)
            if others + len(file) > self._most:
                raise RefusedError(503, f"{vo} has no room for held images: release or reject some, and send this again")
            _write(folder / f"{held.name}.dcm", file)
            # What is listed is what has this: so an image is there before anybody is told of it.
            _write(folder / f"{held.name}.json", json.dumps(asdict(held)).encode())
        except OSError as error:
            raise RefusedError(
                503, f"the image cannot be held ({type(error).__name__}): ask an operator to look at the volume of held images"
            ) from error
        return held

    def all(self, vo: str) -> list[Held]:
        """Those of a VO."""
        return [_held(file) for file in sorted((self._folder / vo).glob("*.json"))]

    def one(self, vo: str, name: str) -> tuple[Held, bytes] | None:
        """One with its file; None where it is not held."""
        file = self._folder / vo / f"{name}.json"
        if not NAME.fullmatch(name) or not file.exists():
            return None
        return _held(file), file.with_suffix(".dcm").read_bytes()

    def forget(self, vo: str, name: str) -> None:
        """Hold it no longer."""
        file = self._folder / vo / f"{name}.json"
        assert NAME.fullmatch(name)
        file.unlink(missing_ok=True)
        file.with_suffix(".dcm").unlink(missing_ok=True)


def _held(file: Path) -> Held:
    said = json.loads(file.read_text(encoding="utf-8"))
    return Held(said["name"], said["disease"], said["pseudonym"], tuple(Finding(**one) for one in said["findings"]))


def _write(file: Path, data: bytes) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
