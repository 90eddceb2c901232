"""The container that reads and writes HOME, as processes of this machine: each is whose folder it is in, and nobody else."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
from home_server import VO_UID, HomeServer
from waiting import until

from hpc_connector.clients import home as home_module
from hpc_connector.clients.home import CONNECTIONS, Home
from hpc_connector.domain.errors import RefusedError, UnavailableError

ADA, BOB = (40001, 40002) if os.getuid() == 0 else (os.getuid(), os.getuid())
AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def served(tmp_path):
    found = HomeServer(tmp_path)
    found.folder("ada", ADA)
    found.folder("bob", BOB)
    yield found
    found.stop()


def ask(served, do, folder="ada"):
    async def whole():
        home = Home(served.socket, folder)
        try:
            return await asyncio.wait_for(do(home), 30)
        finally:
            home.close()

    return asyncio.run(whole())


def test_what_is_written_is_read_back_whatever_its_name_and_its_bytes(served):
    name, data = os.fsdecode(b'a "b"/caf\xe9\n'), bytes(range(256)) * 5000

    async def do(home):
        await home.write_at(name, 0, data)
        await home.write_at(name, len(data), b"end")
        return (await home.read(name, 1, 4), await home.tail(name, 3), await home.size(name), list(await home.files((name,))))

    assert ask(served, do) == (data[1:5], b"end", len(data) + 3, [name])


def test_what_is_refused_and_what_may_pass_is_told_apart_and_the_connection_goes_on(served):
    (served.private / "ada/link").symlink_to("/etc")

    async def do(home):
        with pytest.raises(RefusedError, match="there is no none") as refused:
            await home.files(("none",))
        with pytest.raises(UnavailableError, match="is a link, or not a folder"):
            await home.write_at("link/x", 0, b"")
        return refused.value.reason, await home.size("none")

    assert ask(served, do) == ("InputMissing", 0)


@pytest.mark.parametrize("name", ["..", ".", "", "none", "ada/../bob", "link", "file"])
def test_nothing_but_a_private_folder_is_entered(served, name):
    (served.private / "link").symlink_to("bob")
    (served.private / "file").write_text("x")
    with pytest.raises(UnavailableError, match="cannot be entered"):
        ask(served, lambda home: home.size("x"), name)


@AS_ROOT
@pytest.mark.parametrize(("uid", "gid"), [(1, 20001), (999, 20001), (40001, 4)])
def test_nobody_of_the_machine_is_become(served, uid, gid):
    made = served.folder("system")
    os.chown(made, uid, gid)
    with pytest.raises(UnavailableError, match=f"system belongs to {uid}:{gid}"):
        ask(served, lambda home: home.size("x"), "system")


@AS_ROOT
def test_the_kernel_keeps_one_out_of_anothers_files(served):
    """Whatever a walk through folders might one day miss: a hard link is a way that no walk can see."""
    (served.private / "bob/secret").write_text("of bob")
    os.chown(served.private / "bob/secret", BOB, BOB)
    (served.private / "bob/secret").chmod(0o660)
    os.link(served.private / "bob/secret", served.private / "ada/mine")
    for do in (
        lambda home: home.read("mine", 0, 10),
        lambda home: home.write_at("mine", 0, b"taken"),
        lambda home: home.files(("mine",)),
    ):
        with pytest.raises(UnavailableError, match="Permission denied"):
            ask(served, do)
    assert (served.private / "bob/secret").read_text() == "of bob"


@AS_ROOT
def test_a_folder_of_roots_is_the_vos_own(served):
    made = served.folder("vo")
    os.chown(made, 0, 20001)
    ask(served, lambda home: home.write_at("file", 0, b"x"), "vo")
    assert (made / "file").stat().st_uid == VO_UID
    assert (made / "file").stat().st_gid == 20001


def test_a_connection_that_is_not_used_ends_and_its_process_with_it(served, monkeypatch):
    monkeypatch.setattr(home_module, "KEEP_S", 0.5)
    until("the processes of before have ended", lambda: not children(served.process.pid))

    async def do(home):
        await asyncio.gather(*(home.size(str(number)) for number in range(20)))
        there = len(children(served.process.pid))
        while children(served.process.pid):
            await asyncio.sleep(0.05)
        return there

    assert ask(served, do) <= CONNECTIONS


def children(pid):
    """Its processes that have not ended."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for one in found if Path(f"/proc/{one}/stat").read_text().split()[2] != "Z"]


def test_a_process_ends_with_who_asked_however_long_a_file_is(served):
    """A file of nothing takes no room and is read for hours: once its job is gone, the process must not keep a place of all."""
    huge = served.private / "ada/huge"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    os.chown(huge, ADA, -1)

    async def do(home):
        asking = asyncio.create_task(home.digest("huge"))
        while not any(opened(one, huge) for one in children(served.process.pid)):
            await asyncio.sleep(0.05)
        asking.cancel()
        while children(served.process.pid):
            await asyncio.sleep(0.05)

    ask(served, do)


def opened(pid, path):
    """Whether a process has a file open."""
    try:
        return any(one.readlink() == path for one in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def test_what_is_no_question_ends_its_connection_and_no_other(served):
    async def do(home):
        await home.write_at("file", 0, b"before")
        for line in (b"nonsense\n", b'{"folder": "ada"}\n[]\n', b'{"folder": "ada"}\n{"do": "run", "bytes": 0}\n'):
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(str(served.socket))
                other.sendall(line)
                other.settimeout(10)
                while other.recv(1000):
                    pass
        return await home.read("file", 0, 100)

    assert ask(served, do) == b"before"


def test_after_the_container_was_killed_it_goes_on_with_the_next(served, tmp_path):
    async def do(home):
        await home.size("file")
        for one in children(served.process.pid):
            os.kill(int(one), 9)
        served.stop()
        with pytest.raises(UnavailableError, match="HOME cannot be reached"):
            await home.size("file")
        again = HomeServer(tmp_path)
        try:
            return await home.size("file")
        finally:
            again.stop()

    assert ask(served, do) == 0
