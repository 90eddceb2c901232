"""`python -m authorizer.folders SOCKET VOLUMES LOG`: makes the folders it is asked for and writes lines of the audit log, until it
is told to end.

Listens on a socket in a folder that only the authorizer's container has. A question is one line: a JSON list of folders, or
`{"lines": [...]}` to be appended to the log in LOG, a volume and a folder in it (`home/.audit`). The answer is one line,
`{"problems": [...]}`, empty when all of it is done.
"""

from __future__ import annotations

import json
import socketserver
import sys
from contextlib import suppress
from pathlib import Path

from authorizer.folders.make import Folder, ProblemError, make
from authorizer.folders.written import append

LONGEST = 64 * 1024
"""Bytes of a question."""
FORBIDDEN = {"", ".", ".."}


def answer(volumes: Path, log: str, question: bytes) -> list[str]:
    """Do what a question asks for; what could not be done, each in a sentence.

    Raises:
        TypeError, ValueError: it is no question.
    """
    given = json.loads(question)
    if isinstance(given, dict) and isinstance(given.get("lines"), list):
        return unwritten(volumes, log, given["lines"])
    return problems(volumes, asked_for(given))


def unwritten(volumes: Path, log: str, lines: list[str]) -> list[str]:
    """Append lines to the log; why that could not be done."""
    try:
        append(volumes, log, lines)
    except (ProblemError, OSError) as error:
        return [f"{log}: {error}"]
    return []


def asked_for(given: object) -> list[Folder]:
    """The folders that a question names.

    Raises:
        ValueError: it is no list of folders, or leads out of a volume.
    """
    if not isinstance(given, list):
        raise ValueError("it is no list")
    folders = []
    for item in given:
        folder = Folder(**item)
        numbers = all(isinstance(number, int) and number >= 0 for number in (folder.uid, folder.gid, folder.mode))
        parts = [folder.volume, *folder.path] if isinstance(folder.path, list) and folder.path else [None]
        named = all(isinstance(part, str) and part not in FORBIDDEN and "/" not in part and "\0" not in part for part in parts)
        if not numbers or not named:
            raise ValueError(f"{str(item)[:200]} is no folder")
        folders.append(folder)
    return folders


def problems(volumes: Path, wanted: list[Folder]) -> list[str]:
    """Make every folder; what could not be made, each in a sentence."""
    found = []
    for folder in wanted:
        where = "/".join([folder.volume, *folder.path])
        try:
            if done := make(volumes, folder):
                print(f"{where}: {done}", flush=True)
        except (ProblemError, OSError) as error:
            found.append(f"{where}: {error}. It should be {folder.uid}:{folder.gid}'s, with mode {folder.mode:o}")
    return found


def server(path: Path, volumes: Path, log: str) -> socketserver.UnixStreamServer:
    """Listens at `path`; one question at a time."""

    class Handler(socketserver.StreamRequestHandler):
        timeout = 10

        def handle(self) -> None:
            question = self.rfile.readline(LONGEST)
            try:
                found = answer(volumes, log, question)
            except (TypeError, ValueError, RecursionError) as error:
                found = [f"this is no list of folders: {error}"]
            self.wfile.write(json.dumps({"problems": found}).encode() + b"\n")

    class Server(socketserver.UnixStreamServer):
        request_queue_size = 128  # all members at once, when the authorizer starts

    with suppress(FileNotFoundError):
        path.unlink()
    made = Server(str(path), Handler)
    path.chmod(0o660)  # the folder's group, which its set-group-ID bit has given the socket, is the authorizer's
    return made


if __name__ == "__main__":
    with server(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]) as listening:
        listening.serve_forever()
