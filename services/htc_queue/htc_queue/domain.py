"""What a queue is, with no I/O: arguments, limits, how a queue stands, what a consumer does about a failure."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import deque
from dataclasses import dataclass, field

MOST_BYTES = 1024 * 1024
"""The longest argument. Data belongs on a volume; what is queued is where it lies."""
MOST_ON_A_COMMAND_LINE = 131_071
"""What Linux lets a single argument of a program have (MAX_ARG_STRLEN, 32 pages, less its closing NUL)."""
MOST_CONSUMERS = 1000
"""More than this nobody is given, whatever a queue's length says."""
MOST_SHOWN = 200
"""Bytes of an argument in a sentence."""
MOST_READABLE = 60
PLAIN = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class QueueError(Exception):
    """What a person can fix: said in one sentence."""


class UnfitError(QueueError):
    """An argument no try can make fit: it becomes a dead letter at once."""


@dataclass(frozen=True)
class Lease:
    """An argument handed to a consumer for a while.

    Attributes:
        id: Redis' id of the entry.
        argument: what was pushed.
        tries: 1 for the first time it is handed out.
        index: its place in the order of pushing, from 0.
    """

    id: str
    argument: bytes
    tries: int
    index: int = 0

    @property
    def key(self) -> str:
        """Names the argument in files: the same argument always gives the same name, and no other one gives it."""
        return file_name(self.argument)

    @property
    def shown(self) -> str:
        """The argument, or its beginning, on one line for a person."""
        text = printable(self.argument[:MOST_SHOWN].decode(errors="replace"))
        return text + "…" * (len(self.argument) > MOST_SHOWN)


@dataclass(frozen=True)
class Letter:
    """An argument that failed for good.

    Attributes:
        argument: its beginning, where it is long.
        size: how many bytes the whole of it has.
        error: why, in a sentence.
        tail: the last of what its command wrote.
        at: epoch seconds.
    """

    argument: bytes
    size: int
    error: str
    tail: str
    tries: int
    at: float


@dataclass(frozen=True)
class Standing:
    """How a queue stands.

    Attributes:
        pushed, done, dead: arguments, since the queue was made.
        left: entries of the stream that have not ended; counted by Redis, so that no counter can be wrong about it.
        running: handed out and not ended; those that wait for their next try are not among them.
        waiting: the others that are left.
        closed: no more will be pushed.
        rate: arguments ended well per second, over the last minute at most.
        consumers: those that have something.
    """

    pushed: int
    done: int
    dead: int
    left: int
    running: int
    closed: bool
    rate: float
    consumers: int

    @property
    def waiting(self) -> int:
        """Arguments nobody works on."""
        return max(0, self.left - self.running)

    @property
    def finished(self) -> bool:
        """Everything that was pushed has ended, and nothing more comes."""
        return self.closed and not self.left

    @property
    def eta_s(self) -> float | None:
        """Seconds until nothing is left at the present rate; None when that cannot be said."""
        if not self.left:
            return 0.0
        return round(self.left / self.rate, 1) if self.rate else None

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "pushed": self.pushed,
            "waiting": self.waiting,
            "running": self.running,
            "done": self.done,
            "dead": self.dead,
            "closed": self.closed,
            "finished": self.finished,
            "rate": self.rate,
            "eta_s": self.eta_s,
            "consumers": self.consumers,
        }


@dataclass(frozen=True)
class Patience:
    """How long a consumer may be silent, and how often an argument is tried.

    Attributes:
        visibility_s: after this long without a sign, an argument is another consumer's.
        tries: how often an argument is tried in all.
    """

    visibility_s: float = 30.0
    tries: int = 3

    def pause_s(self, tries: int) -> float:
        """Before the next try: 1 s, 2 s, 4 s …; never longer than a silent consumer is waited for."""
        return min(FIRST_PAUSE_S * 2.0 ** (tries - 1), LONGEST_PAUSE_S, self.visibility_s)


@dataclass
class Scaling:
    """How many consumers a queue of some length is worth.

    Attributes:
        least, most: consumers; `least` may be 0.
        each: arguments that one consumer is started for.
        calm_s: how long fewer must have been enough before there are fewer.
    """

    least: int
    most: int
    each: int = 1
    calm_s: float = 30.0
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def needed(self, standing: Standing) -> int:
        """For how the queue stands now; never fewer than have something in hand."""
        need = max(math.ceil(standing.left / self.each), standing.consumers)
        if standing.closed:
            need = max(need, 1)  # somebody has to see that it is finished
        return min(max(need, self.least), self.most)

    def wanted(self, standing: Standing, now_s: float) -> int:
        """More at once; fewer only after a calm."""
        self._recent.append((now_s, self.needed(standing)))
        while self._recent[0][0] < now_s - self.calm_s:
            self._recent.popleft()
        return max(count for _, count in self._recent)


def counted(number: int, one: str, more: str) -> str:
    """`0 tries`, `1 try`, `2 tries`."""
    return f"{number} {one if number == 1 else more}"


def printable(text: str) -> str:
    """One line that a terminal shows and does not obey: control and formatting characters are spelled out."""
    return "".join(_spelled(letter) if unicodedata.category(letter) in _UNSEEN else letter for letter in text)


_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def _spelled(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def file_name(argument: bytes) -> str:
    """A name for files about an argument: itself where it can be one (`p-001.csv`).

    Any other (`/data/p 1.csv`) gets its readable end, two dashes, which no plain one has, and 64 bits of its digest
    (`p-1.csv--1f0c…`).
    """
    if PLAIN.fullmatch(argument) and b"--" not in argument:
        return argument.decode()
    last = argument.rstrip(b"/").rpartition(b"/")[2][:MOST_SHOWN].decode(errors="replace")
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", last).strip("-._")[:MOST_READABLE].strip("-._")
    return f"{readable or 'x'}--{digest(argument).hex()[:16]}"


def digest(argument: bytes) -> bytes:
    """Sixteen bytes that tell arguments apart."""
    return hashlib.blake2b(argument, digest_size=16).digest()


def require_fit(argument: bytes) -> bytes:
    """The argument, or why it cannot be queued."""
    if not argument:
        raise QueueError("an empty argument says nothing to do; leave it out")
    if len(argument) > MOST_BYTES:
        raise QueueError(
            f"an argument of {len(argument)} bytes is longer than {MOST_BYTES}; write it to HOME and push the file's path"
        )
    return argument


def command_line(command: list[str], arguments: list[bytes]) -> list[bytes]:
    """The command with `{}` replaced by the arguments, or with them at its end where it has no `{}`.

    Raises:
        UnfitError: an argument that Linux cannot hand to a program.
    """
    for argument in arguments:
        if b"\0" in argument:
            raise UnfitError("it has a NUL byte, which no command line can have; run the command with --stdin")
        if len(argument) > MOST_ON_A_COMMAND_LINE:
            raise UnfitError(f"its {len(argument)} bytes are more than a command line can have; run the command with --stdin")
    parts = [part.encode() for part in command]
    if b"{}" in parts:
        place = parts.index(b"{}")
        return [*parts[:place], *arguments, *parts[place + 1 :]]
    if len(arguments) == 1 and any(b"{}" in part for part in parts):
        return [part.replace(b"{}", arguments[0]) for part in parts]
    return [*parts, *arguments]
