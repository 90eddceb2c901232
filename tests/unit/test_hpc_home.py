"""HOME, where a member may put anything in any place at any moment."""

import os
import socket

import pytest

from hpc_connector.domain.errors import RefusedError, UnavailableError
from hpc_connector.home import files as files_module
from hpc_connector.home.files import Files


def files_of(folder):
    """Its files; the descriptor is the process's own affair."""
    return Files(os.open(folder, os.O_PATH))


@pytest.fixture
def home(tmp_path):
    """HOME with a folder `in` of one file, and a secret outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    root = tmp_path / "home"
    (root / "in/deep").mkdir(parents=True)
    (root / "in/deep/file").write_text("mine")
    return root


def test_links_in_folders_are_left_out_and_a_link_that_is_named_is_refused(home):
    (home / "in/link").symlink_to(home.parent / "outside/secret")
    (home / "in/folder").symlink_to(home.parent / "outside")
    os.mkfifo(home / "in/pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "in/socket"))
        assert list(files_of(home).files(("in",))) == ["in/deep/file"]
    for below in ("in/link", "in/folder", "in/pipe", "in/socket"):
        with pytest.raises(RefusedError, match="a link, a pipe or a device"):
            files_of(home).files((below,))
    for below in ("in/folder/secret", "none", "in/deep/file/x"):
        with pytest.raises(RefusedError, match=f"there is no {below}"):
            files_of(home).files((below,))
    with pytest.raises(RefusedError, match="leads out"):
        files_of(home).files(("../outside/secret",))


OPERATIONS = {
    "read": lambda home, below: home.read(below, 0, 100),
    "digest": lambda home, below: home.digest(below),
    "size": lambda home, below: home.size(below),
    "write": lambda home, below: home.write_at(below, 0, b"lost"),
    "remove": lambda home, below: home.remove(below),
    "replace": lambda home, below: home.replace(f"{below}.part", below),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_folder_that_became_a_link_since_it_was_looked_at_is_not_gone_through(home, operation):
    """Looked at first, and exchanged before it is used: what a member's loop of `mv` does."""
    (home / "in/secret").write_text("mine")
    assert files_of(home).files(("in",))
    (home / "in").rename(home / "away")
    (home / "in").symlink_to(home.parent / "outside")
    (home.parent / "outside/secret.part").write_text("part")
    with pytest.raises(UnavailableError):
        OPERATIONS[operation](files_of(home), "in/secret")
    assert (home.parent / "outside/secret").read_text() == "secret"


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "socket", "device"])
def test_nothing_but_a_regular_file_is_read_or_written_and_nothing_hangs(home, monkeypatch, kind):
    below, path = "jobs/job/12345678/1.log", home / "jobs/job/12345678/1.log"
    path.parent.mkdir(parents=True)
    listening = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(path.parent)  # a socket's path is short
    make = {
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(home.parent / "outside/secret"),
        "folder": lambda: path.mkdir(),
        "socket": lambda: listening.bind("1.log"),
        "device": lambda: os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3)),
    }
    try:
        make[kind]()
    except PermissionError:
        pytest.skip("this user cannot make devices")
    with listening:
        for operation in ("read", "digest", "write"):
            with pytest.raises(UnavailableError, match="not a regular file"):
                OPERATIONS[operation](files_of(home), below)
    assert files_of(home).tail(below, 10) == b""
    assert (home.parent / "outside/secret").read_text() == "secret"


def test_a_file_is_written_in_parts_in_folders_that_are_made(home):
    files_of(home).write_at("a/b/c", 0, b"one two")
    files_of(home).write_at("a/b/c", 4, b"three")
    assert (home / "a/b/c").read_text() == "one three"
    assert files_of(home).tail("a/b/c", 5) == b"three"
    assert files_of(home).size("a/b/c") == 9
    files_of(home).replace("a/b/c", "a/b/d")
    assert files_of(home).digest("a/b/c") == ""
    assert files_of(home).read("a/b/d", 0, 100) == b"one three"


def test_a_long_log_is_not_read_to_know_its_end(home):
    path = home / "log"
    with path.open("wb") as stream:
        stream.truncate(50 << 30)  # holes: no machine has so much memory
        stream.seek(0, os.SEEK_END)
        stream.write(b"the end")
    assert files_of(home).tail("log", 7) == b"the end"


def test_inputs_without_measure_are_refused(home, monkeypatch):
    monkeypatch.setattr(files_module, "MOST_FILES", 50)
    for number in range(60):
        (home / f"in/{number}").mkdir()
    with pytest.raises(RefusedError, match="at most 50 files and folders"):
        files_of(home).files(("in",))
    monkeypatch.undo()
    deep = home / "deep"
    for _ in range(70):
        deep /= "d"
    deep.mkdir(parents=True)
    with pytest.raises(RefusedError, match="64 in each other"):
        files_of(home).files(("deep",))


def test_long_names_are_counted_as_they_are_told_over_all_inputs(home, monkeypatch):
    """A hundred thousand empty files at the end of a long path would fill the memory that all members' jobs share."""
    monkeypatch.setattr(files_module, "MOST_TOLD", 1 << 20)
    deep = home / "deep" / os.fsdecode(b"\xff" * 250) / os.fsdecode(b"\xff" * 250)
    deep.mkdir(parents=True)
    for number in range(200):
        (deep / str(number)).touch()
    assert len(files_of(home).files(("deep",))) == 200
    with pytest.raises(RefusedError, match="names of all files in inputs take at most 1 MiB; pack deep"):
        files_of(home).files(("deep", "./deep"))
