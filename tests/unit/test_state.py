import os

import pytest

from primage.clients.cluster import Ref
from primage.engine.embedded.state import Entry, FileStore, StackState, Status
from primage.errors import PrimageError


def entry(urn="u", status=Status.READY):
    return Entry(
        urn=urn, type="kubernetes:core/v1:Namespace", name="n", status=status, order=1, level=1, ref=Ref("v1", "Namespace", "n")
    )


def test_comes_back_as_it_was(tmp_path):
    store = FileStore(tmp_path / "p" / "s.json", "s")
    state = StackState("s", {"u": entry()}, {"site": {"a": 1}}, ["token"])
    store.save(state)
    assert store.load() == state


def test_only_the_owner_reads_it(tmp_path):
    store = FileStore(tmp_path / "s.json", "s")
    store.save(StackState("s"))
    assert (tmp_path / "s.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "stack": "s", "resources": {"u": {}}}'])
def test_damage_is_told_with_what_to_do(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(PrimageError, match="cannot be read") as caught:
        FileStore(tmp_path / "s.json", "s").load()
    assert "backup" in caught.value.todo


def test_a_newer_state_is_left_alone(tmp_path):
    (tmp_path / "s.json").write_text('{"version": 99}')
    with pytest.raises(PrimageError, match="newer primage"):
        FileStore(tmp_path / "s.json", "s").load()


def test_a_failed_write_leaves_the_old_state(tmp_path, monkeypatch):
    store = FileStore(tmp_path / "s.json", "s")
    store.save(StackState("s", {"u": entry()}))

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PrimageError, match="No space left"):
        store.save(StackState("s"))
    monkeypatch.undo()
    assert "u" in store.load().resources


def test_two_processes_do_not_change_one_stack(tmp_path):
    one, other = FileStore(tmp_path / "s.json", "s"), FileStore(tmp_path / "s.json", "s")
    with one.lock(), pytest.raises(PrimageError, match="another process"), other.lock():
        raise AssertionError("both hold the lock")
