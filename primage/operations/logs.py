"""What a stack's jobs write, while they run and after: from their pods, or for HPC jobs from HOME, where it is kept."""

from __future__ import annotations

import base64
import codecs
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from primage.clients.cluster import Cluster, Object, Ref, Refused
from primage.contract.hpc import MANAGER, log_folder
from primage.contract.names import CLAIM_HOME_PRIVATE, LABEL_GID, LABEL_SITE, LABEL_UID
from primage.errors import ExitCode, PrimageError
from primage.kubernetes.readiness import State, verdict
from primage.kubernetes.waiting import pods_of, wait_gone, wait_ready
from primage.operations.helper_pod import helper_pod
from primage.operations.site import Place, site_handle
from primage.operations.stack import stack_handle
from primage.projects.project import StackName

SHELL = "primage/base:1"
LOOK_EVERY_S = 1.0
START_S = 60.0
"""For the pod that reads HOME to start."""
MOST_PODS = 50
MOST_OF_A_JOB = 512 * 2**20
MOST_AT_A_TIME = 3_000_000
# Attempts are numbered files, each complete before the next begins: one after the other they only ever grow. Whoever owns HOME can
# put anything there: only plain files with a number are read. As text, so that the next piece begins at the right byte.
READ = """
cd "/home-private/$1" 2> /dev/null || exit 0
ls | grep -xE '[0-9]{1,6}[.]log' | sort -n | while read -r name; do
  if [ -f "$name" ] && [ ! -L "$name" ]; then cat "$name"; fi
done | tail -c "$2" | head -c "$3" | base64 -w 0
"""


def jobs_of(stack: StackName) -> list[tuple[Cluster, Ref]]:
    """The stack's jobs, also while it is still coming up.

    Raises:
        PrimageError: it has none.
    """
    handle = stack_handle(stack)
    found = [(handle.cluster, Ref.of(job)) for job in handle.jobs()]
    if not found:
        raise PrimageError(
            f"{stack} has no jobs: it is not up, or they ended so long ago that they were cleaned up",
            todo=f"run `primage up {stack}`; what jobs wrote to HOME is kept",
            code=ExitCode.USAGE,
        )
    return found


def read(cluster: Cluster, job: Ref, *, follow: bool) -> Iterator[str]:
    """What the job has written, in pieces; with `follow`, until it has ended."""
    live = cluster.get(job)
    if live is None:
        raise _gone(job)
    if live["spec"].get("managedBy") == MANAGER:
        yield from _from_home(cluster, job, log_folder(job.name, live["metadata"]["uid"]), follow=follow)
    else:
        yield from _grow(lambda: _of_pods(cluster, job), lambda: _over(cluster, job), follow=follow)


def _over(cluster: Cluster, job: Ref) -> bool:
    live = cluster.get(job)
    return live is None or verdict(live).state is not State.WAITING


def _grow(whole: Callable[[], str], over: Callable[[], bool], *, follow: bool) -> Iterator[str]:
    """What is new each time of a text that only grows."""
    said = 0
    while True:
        ended = not follow or over()  # asked before reading: what was written last is read after the end
        text = whole()
        if len(text) > said:
            yield text[said:]
            said = len(text)
        if ended:
            return
        time.sleep(LOOK_EVERY_S)


def _of_pods(cluster: Cluster, job: Ref) -> str:
    pods = pods_of(cluster, job)[-MOST_PODS:]
    several = len(pods) > 1
    parts = []
    for pod in pods:
        name = pod["metadata"]["name"]
        head = f"== {name}\n" if several else ""
        parts.append(head + cluster.logs(job.namespace, name, tail=1_000_000))
    return "".join(parts)


def end_of_hpc(cluster: Cluster, job: Ref, *, most: int, timeout_s: float) -> str:
    """The end of what an HPC job has written by now.

    Args:
        most: bytes of it.
        timeout_s: for the pod that reads it to start, and then for what it reads.

    Raises:
        Refused, PrimageError: it cannot be read.
    """
    live = cluster.get(job)
    if live is None:
        raise _gone(job)
    folder = log_folder(job.name, live["metadata"]["uid"])
    with _reader_of(cluster, job, timeout_s) as reader:
        return _read(cluster, reader, job, (folder, str(most), str(most)), timeout_s)[-most:].decode("utf-8", "replace")


def _from_home(cluster: Cluster, job: Ref, folder: str, *, follow: bool) -> Iterator[str]:
    with _reader_of(cluster, job, START_S) as reader:
        said, text = 0, codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            ended = not follow or _over(cluster, job)
            piece = _read(cluster, reader, job, (folder, f"+{said + 1}", str(MOST_AT_A_TIME)), START_S)
            if piece:
                yield text.decode(piece)
                said += len(piece)
                if said > MOST_OF_A_JOB:
                    raise PrimageError(
                        f"the output of {job} goes on after {MOST_OF_A_JOB >> 20} MiB, more than the connector keeps",
                        where=f"HOME/private/{folder}",
                        todo="copy those files with `primage cp`",
                    )
            elif ended:
                return
            else:
                time.sleep(LOOK_EVERY_S)


@contextmanager
def _reader_of(cluster: Cluster, job: Ref, timeout_s: float) -> Iterator[Ref]:
    """A small pod with the rights of any job of the VO, while it is needed: HOME is not open to anybody else."""
    reader = _reader(cluster, job)
    ref = Ref.of(reader)
    try:
        cluster.apply(reader, manager="primage-logs")
        wait_ready(cluster, cluster.get(ref) or reader, timeout_s=timeout_s, report=lambda _: None)
        yield ref
    finally:
        try:
            cluster.delete(ref)
            wait_gone(cluster, ref, timeout_s=30, report=lambda _: None)
        except Refused:
            pass  # it was never made


def _read(cluster: Cluster, reader: Ref, job: Ref, asked: tuple[str, str, str], timeout_s: float) -> bytes:
    code, out, err = cluster.execute(reader, ["sh", "-c", READ, "read", *asked], timeout_s=timeout_s)
    if code:
        raise PrimageError(f"the output of {job} cannot be read: {err.strip()}", where=f"HOME/private/{asked[0]}")
    return _piece(out, job)


def _gone(job: Ref) -> PrimageError:
    return PrimageError(f"{job} is gone", todo="look at its output in HOME, where HPC jobs' output is kept")


def _piece(out: str, job: Ref) -> bytes:
    """What the reader sent."""
    try:
        piece = base64.b64decode(out, validate=True)
    except ValueError:
        piece = b"x" * (MOST_AT_A_TIME + 1)
    if len(piece) > MOST_AT_A_TIME:
        raise PrimageError(f"the output of {job} does not arrive as it was asked for", todo="see what runs in that namespace")
    return piece


def _reader(cluster: Cluster, job: Ref) -> Object:
    place, image = _place(cluster, job.namespace)
    return helper_pod(
        f"logs-{job.name[:40]}-{secrets.token_hex(3)}",
        place,
        {"name": "reader", "image": image},
        memory="32Mi",
        mounts=[{"name": "home", "mountPath": "/home-private", "readOnly": True}],
        volumes=[{"name": "home", "persistentVolumeClaim": {"claimName": CLAIM_HOME_PRIVATE}}],
    )


def _place(cluster: Cluster, namespace: str) -> tuple[Place, str]:
    """Whom HOME belongs to, and an image with a shell on the site: as the site has written it on the namespace."""
    space = cluster.get(Ref("v1", "Namespace", namespace))
    labels = (space or {}).get("metadata", {}).get("labels") or {}
    try:
        place = Place(namespace, int(labels[LABEL_UID]), int(labels[LABEL_GID]))
        return place, site_handle(labels[LABEL_SITE]).outputs.images.resolve(SHELL)
    except (LookupError, ValueError) as error:
        raise PrimageError(
            f"namespace {namespace} does not say whose files HOME has: it is not one of a site's tenants",
            todo="run `primage up` for the site",
        ) from error
