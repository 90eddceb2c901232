"""Two members of one VO: each with a namespace, files, a queue and credentials that the other cannot get at."""

import pytest

from primage.clients.cluster import Ref
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.operations.logs import jobs_of, read
from primage.projects.project import parse_stack_name

ONE, OTHER = "member1@primage.eu", "member2@primage.eu"
ONE_SPACE = "member1-at-primage-dot-eu"
QUEUE = f"secrets-queue.{ONE_SPACE}.svc"
KNOCK = """
import socket, ssl, sys
trust = ssl.create_default_context()
trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
try:
    with trust.wrap_socket(socket.create_connection((sys.argv[1], 6379), 5)) as queue:
        for line in (b"PING", b"AUTH queue guess", b"XLEN arguments"):
            queue.sendall(line + b"\\r\\n")
            print(queue.recv(100).decode().split()[0])
except (TimeoutError, ConnectionRefusedError):
    print("-POLICY")
"""


@pytest.fixture
def says(site):
    """What a batch job prints that somebody of the VO runs."""
    engine = EmbeddedEngine()

    def run(whose: str, *command: str) -> str:
        stack = parse_stack_name(f"batch/{whose}vo.primage.eu.local--members")
        job = {"name": "look", "image": "primage/base:1", "command": list(command), "cpu": "50m", "memory": "64Mi"}
        try:
            engine.up(stack, Options(overrides={"job": {**job, "backoff_limit": 0}}))
            ((cluster, ref),) = jobs_of(stack)
            return "".join(read(cluster, ref, follow=False))
        finally:
            engine.destroy(stack, Options())

    return run


def test_a_member_has_private_files_and_the_vos_shared_ones(says, cluster):
    write = (
        'id -u; id -g; umask 007; echo mine > "$HOME/mine-alone"; echo ours > "$MOUNT_POINT/HOME/shared/ours"; ls "$MOUNT_POINT"'
    )
    look = 'find / -name mine-alone -not -path "/proc/*" 2> /dev/null; cat "$MOUNT_POINT/HOME/shared/ours"'
    try:
        assert says(f"{ONE}_", "sh", "-c", write).split() == ["40001", "20001", "DATALAKE", "HOME"]
        assert says(f"{ONE}_", "sh", "-c", look).splitlines() == ["/primage/HOME/private/mine-alone", "ours"]
        assert says(f"{OTHER}_", "sh", "-c", look).splitlines() == ["ours"]
        assert says("", "sh", "-c", look).splitlines() == ["ours"], "the VO's own namespace is nobody's private one"
    finally:
        says(f"{ONE}_", "sh", "-c", 'rm -f "$HOME/mine-alone" "$MOUNT_POINT/HOME/shared/ours"')


def test_a_members_queue_is_closed_to_the_others(says, cluster):
    engine, stack = EmbeddedEngine(), parse_stack_name(f"htc/{ONE}_vo.primage.eu.local")
    consumer = {"image": "primage/base:1", "command": ["true"], "cpu": "100m", "memory": "64Mi"}
    producer = {"arguments": ["a"], "cpu": "100m"}
    try:
        engine.up(
            stack, Options(overrides={"htc": {"name": "secrets", "parallelism": 1, "producer": producer, "consumer": consumer}})
        )
        assert cluster.get(Ref("v1", "Secret", "secrets-queue", ONE_SPACE))
        for whose in (f"{OTHER}_", ""):
            said = says(whose, "python3", "-c", KNOCK, QUEUE).split()
            assert said == ["-POLICY"], f"the network is to keep {whose or 'the VO'} from it, before any password is asked for"
    finally:
        engine.destroy(stack, Options())


def test_who_is_no_member_is_told_who_is():
    stack = parse_stack_name("batch/nobody@primage.eu_vo.primage.eu.local--members")
    with pytest.raises(PrimageError, match="no member nobody-at-primage-dot-eu") as refused:
        EmbeddedEngine().up(stack, Options())
    assert ONE in (refused.value.todo or "")
