"""Both logs of a standing site, read as they arrive.

The API server's is a file on each control plane, which kubelet hands out to whoever may see a node's logs (`nodes/proxy`); the
authorizer's is on a shared volume, which its own pod has mounted. Both need an operator's rights, and nothing but the API server.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import ValidationError

from primage.clients.cluster import Cluster, Ref, Refused
from primage.clients.exec_stream import exchange
from primage.contract import names
from primage.contract.audit import Line, Road
from primage.errors import ExitCode, PrimageError
from primage.operations.audit import texts
from primage.operations.audit.derivation import Event, line_of
from primage.operations.audit.joined import Wanted, joined
from primage.operations.site import SiteHandle, site_handle

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
FOLDER, LATEST = "logs/kubernetes", "audit.log"
_FILE = re.compile(r'href="(audit-(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}\.\d{3})\.log)"')
LARGEST_LISTING = 1024 * 1024
SILENCE_S, LONGEST_S = 60, 900
"""How long a log may say nothing; how long all of it may take."""
WRITTEN = (
    f'cd "{names.FOLDERS_VOLUMES}/{names.AUDIT_VOLUME}/{names.AUDIT_FOLDER}" 2> /dev/null || exit 0; '
    'for file in rights-*.jsonl; do if [ -f "$file" ]; then cat "$file"; fi; done'
)


@dataclass
class Found:
    """What was found out while both were read.

    Attributes:
        unreadable: how many lines were none, by where they are.
        begins: when a log begins that does not reach back as far as was asked for.
    """

    unreadable: dict[Road, int] = field(default_factory=lambda: dict.fromkeys(Road, 0))
    begins: dict[Road, datetime] = field(default_factory=dict)

    def said(self) -> list[str]:
        """The same in sentences."""
        many = [f"{number} lines of the {road.value}'s log cannot be read" for road, number in self.unreadable.items() if number]
        return many + [f"the {road.value}'s log begins at {begin:%Y-%m-%dT%H:%M:%SZ}" for road, begin in self.begins.items()]


def read(site: str, wanted: Wanted, found: Found) -> Iterator[Line]:
    """The lines that are asked for, in order of time.

    Raises:
        PrimageError: whoever asks is no operator, or a log cannot be read to its end.
    """
    handle = site_handle(site)
    try:
        yield from _read(handle, wanted, found)
    except Refused as refusal:
        if refusal.status not in (401, 403):
            raise PrimageError(
                f"a log of site {site} cannot be read: {refusal.message}", todo="see whether its machines are up"
            ) from refusal
        raise PrimageError(
            f"the audit log of site {site} is for its operators, and you are none: {refusal.message}",
            where=handle.outputs.kubeconfig,
            todo="use an operator's kubeconfig, or ask an operator",
        ) from refusal


def _read(handle: SiteHandle, wanted: Wanted, found: Found) -> Iterator[Line]:
    cluster = handle.cluster
    end = time.monotonic() + LONGEST_S
    planes = [str(node["metadata"]["name"]) for node in cluster.list("v1", "Node", labels=CONTROL_PLANE)]
    spaces = cluster.list("v1", "Namespace", labels=names.LABEL_VO)
    vos = {str(one["metadata"]["name"]): _vo(one) for one in spaces}
    pod = _authorizer(cluster)
    roads = [_events(cluster, plane, wanted.since, end, found) for plane in planes]
    roads.append(_rights(cluster, pod, wanted.since, end, found))
    yield from filter(wanted.has, joined(roads, vos))


def _vo(space: dict[str, dict[str, dict[str, str]]]) -> str:
    return str((space["metadata"].get("annotations") or {}).get(names.ANNOTATION_VO) or space["metadata"]["labels"][names.LABEL_VO])


def _until(end: float, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if time.monotonic() > end:
            raise PrimageError(f"the logs are not read within {LONGEST_S} s", todo="ask for less, by --since")
        yield piece


# -- the API server's ------------------------------------------------------------------------------------------------


def _events(cluster: Cluster, node: str, since: datetime, end: float, found: Found) -> Iterator[Line]:
    """Lines of one control plane; files that were closed before `since` are left alone."""
    folder = f"/api/v1/nodes/{node}/proxy/{FOLDER}"
    read: set[str] = set()
    closed = _closed(cluster, folder)
    whole = all(ended >= since for _, ended in closed)
    yield from api_server_lines(_until(end, _files(cluster, folder, since, read)), found, since if whole else None)


def api_server_lines(pieces: Iterable[bytes], found: Found, since: datetime | None = None) -> Iterator[Line]:
    """Lines of what the API server has logged.

    Args:
        since: from when on it was asked for, where all of the log is read; None where its beginning is left out.
    """
    yield from _checked(texts.lines(pieces), _line_of_event, Road.API_SERVER, since, found)


def _files(cluster: Cluster, folder: str, since: datetime, read: set[str]) -> Iterator[bytes]:
    """All of them, the oldest first; asked again each time, since the latest is renamed when it is full."""
    while left := [name for name, ended in _closed(cluster, folder) if ended >= since and name not in read]:
        read.add(left[0])
        yield from cluster.pieces(f"{folder}/{left[0]}", silence_s=SILENCE_S)
    yield from cluster.pieces(f"{folder}/{LATEST}", silence_s=SILENCE_S)


def _closed(cluster: Cluster, folder: str) -> list[tuple[str, datetime]]:
    """The files that are written no more, and when each was closed, which its name says."""
    page = bytearray()
    for piece in cluster.pieces(f"{folder}/", silence_s=SILENCE_S):
        page += piece
        if len(page) > LARGEST_LISTING:
            raise PrimageError(f"{folder} has too many files", todo="see what writes there on that machine")
    named = _FILE.findall(page.decode("utf-8", "replace"))
    return sorted((name, datetime.strptime(stamp, "%Y-%m-%dT%H-%M-%S.%f").replace(tzinfo=UTC)) for name, stamp in named)


def _line_of_event(text: bytes) -> tuple[datetime, Line | None]:
    event = Event.model_validate_json(text)
    return event.time, line_of(event)


# -- the authorizer's ------------------------------------------------------------------------------------------------


def _authorizer(cluster: Cluster) -> Ref:
    """Its pod."""
    label = f"{names.LABEL_APP}={names.AUTHORIZER}"
    for pod in cluster.list("v1", "Pod", names.SYSTEM_NAMESPACE, labels=label):
        if (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp"):
            return Ref.of(pod)
    raise PrimageError(
        "the authorizer does not run, whose pod has its log mounted",
        where=f"namespace {names.SYSTEM_NAMESPACE}",
        todo=f"see `primage why pod/{names.SYSTEM_NAMESPACE}/NAME`, then try again",
        code=ExitCode.UNREACHABLE,
    )


def _rights(cluster: Cluster, pod: Ref, since: datetime, end: float, found: Found) -> Iterator[Line]:
    socket = cluster.attach(pod, ["sh", "-c", WRITTEN], container=names.FOLDERS)
    pieces = _until(end, exchange(socket, (), "reading the authorizer's log"))
    yield from _checked(texts.lines(pieces), _line_of_right, Road.AUTHORIZER, since, found)


def _line_of_right(text: bytes) -> tuple[datetime, Line | None]:
    line = Line.model_validate_json(text)
    return line.time, line


# -- both ------------------------------------------------------------------------------------------------------------


def _checked(
    written: Iterable[bytes | None],
    parse: Callable[[bytes], tuple[datetime, Line | None]],
    road: Road,
    since: datetime | None,
    found: Found,
) -> Iterator[Line]:
    """What is a line; what is none is counted.

    Args:
        since: from when on it was asked for, where all of the log is read; None where its beginning is left out.
    """
    begun = False
    for text in written:
        if text == b"":
            continue
        try:
            if text is None:
                raise ValueError("it is too long")
            when, line = parse(text)
        except (ValidationError, ValueError, OverflowError):
            found.unreadable[road] += 1
            continue
        if not begun and since and when > since:
            found.begins[road] = when
        begun = True
        if line:
            yield line
