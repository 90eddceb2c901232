"""What making folders does to a file system, in folders of whoever runs the tests."""

import json
import os
import socket
import stat
import threading
from contextlib import suppress

import pytest

from authorizer.folders import make as make_folders
from authorizer.folders.__main__ import problems, server
from authorizer.folders.make import Folder, ProblemError, make

ME, MY_GROUP = os.getuid(), os.getgid()
SOMEBODY_ELSE = ME + 1


@pytest.fixture
def volumes(tmp_path):
    (tmp_path / "home").mkdir(mode=0o711)
    return tmp_path


def folder(*path, uid=ME, mode=0o2750, personal=False):
    return Folder("home", list(path), uid, MY_GROUP, mode, personal)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_made_one_in_the_other_with_their_modes(volumes):
    assert [make(volumes, folder("vo")), make(volumes, folder("vo", "shared", mode=0o2770))] == ["made", "made"]
    assert (mode_of(volumes / "home/vo"), mode_of(volumes / "home/vo/shared")) == (0o2750, 0o2770)


def test_a_second_run_changes_nothing_not_even_on_a_volume_nobody_may_write(volumes, monkeypatch):
    make(volumes, folder("vo"))
    for name in ("fchown", "fchmod", "mkdir", "rename", "rmdir"):
        monkeypatch.setattr(os, name, lambda *_, **__: pytest.fail("something was written"))
    assert make(volumes, folder("vo")) == ""


def test_a_mode_is_brought_in_line_and_what_is_inside_is_left_alone(volumes):
    make(volumes, folder("vo", mode=0o2770))
    inside = volumes / "home/vo/letter"
    inside.write_text("mine")
    inside.chmod(0o604)
    assert make(volumes, folder("vo")) == "mode 2770 changed to 2750"
    assert (mode_of(volumes / "home/vo"), mode_of(inside), inside.read_text()) == (0o2750, 0o604, "mine")


@pytest.mark.parametrize("planted", ["vo", "vo/private"])
def test_no_symbolic_link_is_followed(volumes, tmp_path, planted):
    aside = tmp_path / "aside"
    aside.mkdir(mode=0o700)
    (volumes / "home" / planted).parent.mkdir(exist_ok=True)
    (volumes / "home" / planted).symlink_to(aside)
    with pytest.raises(ProblemError, match="symbolic link"):
        make(volumes, folder(*planted.split("/")))
    with pytest.raises(ProblemError, match="symbolic link"):
        make(volumes, folder(*planted.split("/"), "below"))
    assert (mode_of(aside), list(aside.iterdir())) == (0o700, [])


def test_somebody_elses_private_folder_is_not_given_away(volumes, monkeypatch):
    make(volumes, folder("letters"))
    monkeypatch.setattr(os, "fchown", lambda *_: pytest.fail("it was given away"))
    with pytest.raises(ProblemError, match=f"belongs to user {ME} and not to {SOMEBODY_ELSE}"):
        make(volumes, folder("letters", uid=SOMEBODY_ELSE, personal=True))


def test_a_volume_whose_root_others_may_write_is_refused(volumes):
    (volumes / "home").chmod(0o777)
    with pytest.raises(ProblemError, match="root may be written by others"):
        make(volumes, folder("vo"))


def test_a_run_that_was_killed_in_the_middle_is_made_good(volumes, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(make_folders.os, "rename", lambda *_, **__: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            make(volumes, folder("me", personal=True))
    assert not (volumes / "home/me").exists(), "nothing half made under the name itself"
    assert make(volumes, folder("me", personal=True)) == "made"
    assert [path.name for path in (volumes / "home").iterdir()] == ["me"]


def test_one_that_is_nobodys_own_is_made_good_under_its_name(volumes, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(make_folders.os, "fchmod", lambda *_: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            make(volumes, folder("vo"))
    assert make(volumes, folder("vo")) == "mode 700 changed to 2750"


def test_a_folder_that_somebody_makes_at_the_same_time_is_not_replaced(volumes, monkeypatch):
    """As kubelet does for a pod that has it mounted."""
    plain, made = os.mkdir, []

    def mkdir(name, mode, dir_fd):
        plain(name, 0o755, dir_fd=dir_fd)
        made.append((volumes / "home/vo").stat().st_ino)
        plain(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(make_folders.os, "mkdir", mkdir)
    assert make(volumes, folder("vo")) == "made"
    assert [(volumes / "home/vo").stat().st_ino] == made
    assert mode_of(volumes / "home/vo") == 0o2750


def test_every_folder_is_tried_and_what_could_not_be_made_is_told(volumes, capsys):
    (volumes / "home/file").write_text("")
    (said,) = problems(volumes, [folder("file"), folder("vo")])
    assert said.startswith("home/file: file is a file or a symbolic link")
    assert said.endswith(f"It should be {ME}:{MY_GROUP}'s, with mode 2750")
    assert capsys.readouterr().out == "home/vo: made\n"


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"nonsense\n",
        b"{}\n",
        b'[{"volume": "home", "path": ["vo"]}]\n',
        b'[{"volume": "home", "path": [".."], "uid": 0, "gid": 0, "mode": 488, "personal": false}]\n',
        b'[{"volume": "home", "path": ["a/../../b"], "uid": 0, "gid": 0, "mode": 488, "personal": false}]\n',
        b'[{"volume": "home", "path": ["a"], "uid": -1, "gid": 0, "mode": 488, "personal": false}]\n',
        b"[" * 70_000,
    ],
)
def test_a_question_that_is_none_is_answered_and_the_next_one_too(volumes, tmp_path, question):
    path = tmp_path / "socket"
    with server(path, volumes, "home/.audit") as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        assert asked(path, question)["problems"]
        assert asked(path, json.dumps([folder("vo")._asdict()]).encode() + b"\n") == {"problems": []}
        listening.shutdown()
    assert mode_of(volumes / "home/vo") == 0o2750
    assert [entry.name for entry in (volumes / "home").iterdir()] == ["vo"]


def asked(path, question):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        with suppress(BrokenPipeError):
            connection.sendall(question)
        connection.shutdown(socket.SHUT_WR)
        return json.loads(connection.makefile().readline())
