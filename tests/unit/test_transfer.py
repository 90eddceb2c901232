"""Addresses in HOME, and what a pod says of its files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from websocket import WebSocketTimeoutException

from primage.clients.cluster import Ref
from primage.clients.exec_stream import SILENCE_S, exchange
from primage.errors import ExitCode, PrimageError
from primage.operations import files_in_pod, transfer
from primage.operations.transfer import Volumes, _Listed, _Looked, parse_address


@pytest.mark.parametrize("text", ["results.csv", "/srv/a:b", "./a:b", "folder/file"])
def test_a_path_of_this_machine_is_no_address(text):
    assert parse_address(text) is None


def test_an_address_names_whose_volume_and_what_in_it():
    found = parse_address("member1@primage.eu_vo.primage.eu.local:private/a/b.csv")
    assert found is not None
    assert (found.stack.site, found.stack.vo, found.stack.namespace) == ("local", "vo.primage.eu", "member1-at-primage-dot-eu")
    assert (found.in_pod, found.folder) == ("/volumes/private/a/b.csv", False)


def test_a_slash_at_the_end_names_a_folder():
    for text in ("vo.primage.eu.local:shared/", "vo.primage.eu.local:shared", "vo.primage.eu.local:shared/in/"):
        found = parse_address(text)
        assert found is not None
        assert found.folder


@pytest.mark.parametrize(
    "text",
    ["vo.primage.eu.local:etc/passwd", "vo.primage.eu.local:private/../../x", "local:private/x", "a:b"],
)
def test_what_is_no_place_in_a_volume_is_refused(text):
    with pytest.raises(PrimageError):
        parse_address(text)


@given(st.dictionaries(st.sampled_from(["path", "size", "sha256", "more"]), st.one_of(st.text(), st.integers(), st.none())))
def test_a_pod_names_no_path_outside_the_folder_that_is_copied(item):
    try:
        found = _Listed.model_validate(item)
    except ValidationError:
        return
    assert not found.path.startswith("/")
    assert ".." not in found.path.split("/")
    assert found.size >= 0


def says(monkeypatch, *parts):
    """Volumes whose pod answers so."""
    volumes = Volumes(None, Ref("v1", "Pod", "cp-x", "n"))
    monkeypatch.setattr(Volumes, "ask", lambda *_, **__: iter(parts))
    return volumes


def test_an_answer_comes_in_any_pieces_and_signs_of_life_are_none(monkeypatch):
    volumes = says(monkeypatch, b'\n\n{"what": "part", "si', b'ze": 3, "sha256": "ab"}\n')
    (found,) = volumes.answers(_Looked, "looking", "look")
    assert (found.what, found.size, found.folder) == ("part", 3, False)


@pytest.mark.parametrize(
    "said",
    [b"[]", b"no", b'{"size": 1}', b'{"what": "part", "size": -5}', b'{"what": "part", "size": "5"}', b'{"what": "else"}', b"\xff"],
)
def test_what_the_script_would_not_say_is_no_defect(said, monkeypatch):
    with pytest.raises(PrimageError, match="looking: the pod does not answer as its script does"):
        says(monkeypatch, said).answers(_Looked, "looking", "look")


def test_a_long_look_at_a_file_gives_signs_of_life(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files_in_pod, "SIGN_OF_LIFE", 2 * files_in_pod.CHUNK)
    (tmp_path / "large").write_bytes(b"x" * 5 * files_in_pod.CHUNK)
    files_in_pod.list_files(str(tmp_path))
    *signs, told = capsys.readouterr().out.splitlines()
    assert (signs, json.loads(told)["size"]) == (["", ""], 5 * files_in_pod.CHUNK)


class Silent:
    """A web socket to a command that somebody has stopped."""

    def settimeout(self, seconds):
        self.seconds = seconds

    def recv(self):
        raise WebSocketTimeoutException

    def shutdown(self):
        self.shut = True


def test_a_command_that_somebody_stopped_is_not_waited_for_for_ever():
    socket = Silent()
    with pytest.raises(PrimageError, match="copying did not finish: it did not answer in time") as caught:
        list(exchange(socket, [], "copying"))
    assert (socket.seconds, socket.shut, caught.value.code) == (SILENCE_S, True, ExitCode.UNREACHABLE)


def test_no_answer_fills_memory(monkeypatch):
    endless = iter(lambda: b"x" * 65536, None)
    with pytest.raises(PrimageError, match="does not stop answering"):
        says(monkeypatch, *[b"x" * 65536] * 2).send("writing", "write", given=iter(()))
    monkeypatch.setattr(Volumes, "ask", lambda *_, **__: endless)
    monkeypatch.setattr(transfer, "MOST_SAID", 1 << 20)
    with pytest.raises(PrimageError, match="longer than 1 MiB"):
        Volumes(None, Ref("v1", "Pod", "cp-x", "n")).answers(_Looked, "looking", "look")
