"""Text in pixels, as Tesseract reads it: programs of their own, within bounds, so that what goes wrong in them ends with them.

https://tesseract-ocr.github.io/tessdoc/Command-Line-Usage.html
"""

from __future__ import annotations

import csv
import io
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from pydicom import FileDataset

from datasets.domain.burnt_in import Seen
from datasets.domain.dicom_bytes import written
from datasets.domain.errors import UnreadableError

SECONDS = 60
"""For the pixels to be decoded, and for one frame to be read."""
MEMORY = 2 * 1024 * 1024 * 1024
"""Bytes of address space for each program: a frame of 100 million pixels in grey, and what a decoder needs beside it."""
LEAST_SURE = 30.0
"""Of a word, in percent: better a wrong word that names nobody than a name that is missed."""
DECODER = (sys.executable, "-m", "datasets.clients.pixels")


class Tesseract:
    """The program.

    Args:
        environment: what it runs with, besides one thread.
        memory: bytes of address space for it, and for what decodes the pixels before.
    """

    def __init__(self, program: str = "tesseract", environment: Mapping[str, str] | None = None, *, memory: int = MEMORY) -> None:
        self._program, self._memory = program, memory
        self._environment = {"PATH": "/usr/bin:/bin", "OMP_THREAD_LIMIT": "1", **(environment or {})}

    def read(self, image: FileDataset) -> list[Seen]:
        """Words in the first, middle and last frame.

        Raises:
            UnreadableError: the pixels cannot be decoded, or the program cannot be run.
        """
        return [seen for number, times, frame in self._frames(image) for seen in self._words(number, times, frame)]

    def _frames(self, image: FileDataset) -> Iterator[tuple[int, int, bytes]]:
        """Each frame's number, the times that it was enlarged, and its file."""
        try:
            file = written(image)
        except Exception as error:  # noqa: BLE001  # pydicom raises whatever a broken element leads to
            raise UnreadableError(f"its pixels cannot be decoded here ({type(error).__name__})") from None
        environment = {"PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            said = io.BytesIO(_ran(DECODER, file, environment, self._memory))
        except (OSError, subprocess.SubprocessError) as error:
            raise UnreadableError(f"its pixels cannot be decoded here ({_why(error)})") from None
        while head := said.readline():
            number, times = (int(word) for word in head.split())
            form = said.readline()
            _, width, height, _ = form.split()
            yield number, times, form + said.read(int(width) * int(height))

    def _words(self, number: int, times: int, frame: bytes) -> list[Seen]:
        command = (self._program, "stdin", "stdout", "-l", "eng", "--psm", "11", "tsv")
        try:
            said = _ran(command, frame, self._environment, self._memory)
        except (OSError, subprocess.SubprocessError) as error:
            raise UnreadableError(f"they cannot be looked through for it ({type(error).__name__})") from None
        return [_seen(line, number, times) for line in _lines(said) if float(line["conf"]) >= LEAST_SURE and line["text"].strip()]


def _ran(command: Sequence[str], given: bytes, environment: Mapping[str, str], memory: int) -> bytes:
    """What a program says, which is given nothing before it is bounded.

    Raises:
        OSError, subprocess.SubprocessError: it cannot be run, or does not end well or in time.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as process:
        try:
            resource.prlimit(process.pid, resource.RLIMIT_AS, (memory, memory))
            said, wrong = process.communicate(given, timeout=SECONDS)
        finally:
            process.kill()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command[0], stderr=wrong)
    return said


def _why(error: Exception) -> str:
    """What the decoder said, where it is the name of an error and so nothing of the image's."""
    said = error.stderr.decode("ascii", "replace") if isinstance(error, subprocess.CalledProcessError) else ""
    return said if said.isidentifier() else type(error).__name__


def _lines(said: bytes) -> list[dict[str, str]]:
    table = csv.DictReader(io.StringIO(said.decode("utf-8", "replace")), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [line for line in table if line.get("text") is not None and line.get("conf")]


def _seen(line: dict[str, str], frame: int, times: int) -> Seen:
    left, top, width, height = (int(line[name]) // times for name in ("left", "top", "width", "height"))
    return Seen(line["text"], frame, (left, top, width, height))
