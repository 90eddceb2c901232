"""What the authorizer knows of tenants' objects, from watches and from answers to its own requests."""

import asyncio

import pytest

from authorizer.domain.errors import WaitingError
from authorizer.domain.objects import CLAIM, KINDS, address_of
from authorizer.live import LiveObjects

SPACE = "vo-dot-example-dot-org"


def claim(version, phase):
    metadata = {"name": "home", "namespace": SPACE, "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "status": {"phase": phase}}


@pytest.fixture
def live():
    return LiveObjects()


def short(live):
    return live.short_of([address_of(claim(1, ""))])


def test_an_answer_that_comes_after_a_later_change_is_not_believed(live):
    live.note(claim(105, "Bound"))
    live.note_answer(claim(99, "Pending"))
    assert short(live) == "", "versions are numbers, and 99 is before 105"


def test_an_answer_that_comes_first_is(live):
    live.note_answer(claim(99, "Pending"))
    assert short(live) == "claim home is Pending"
    live.note(claim(105, "Bound"))
    assert short(live) == ""


@pytest.mark.parametrize("forget", ["deleted", "not listed"])
def test_one_that_was_made_again_is_another(live, forget):
    live.note(claim(105, "Bound"))
    if forget == "deleted":
        live.note(claim(106, "Bound"), deleted=True)
    else:
        live.listed(CLAIM, live.known(CLAIM))
    assert live.of(SPACE) == []
    live.note_answer(claim(107, "Pending"))
    assert short(live) == "claim home is Pending"


def test_a_store_that_was_restored_begins_with_lower_versions(live):
    live.note(claim(105, "Bound"))
    live.note(claim(20, "Pending"))
    assert short(live) == "claim home is Pending", "a watch is always believed"


def test_it_is_complete_once_every_kind_was_listed(live):
    for kind in KINDS:
        assert not live.complete.is_set()
        live.listed(kind, ())
    assert live.complete.is_set()


def test_news_of_a_tenant_wake_who_waits_for_that_one_and_nobody_else(live):
    looked = {"ours": 0, "theirs": 0}
    ours = claim(1, "Pending")
    ours["metadata"]["labels"] = {"primage.eu/vo": "ours"}

    def bound(owner):
        looked[owner] += 1
        return owner == "ours" and short(live) == ""

    async def run():
        live.note(ours)
        waiting = asyncio.create_task(live.until("ours", lambda: bound("ours"), lambda: ""))
        other = asyncio.create_task(live.until("theirs", lambda: bound("theirs"), lambda: ""))
        await asyncio.sleep(0)
        for version in range(2, 12):
            live.note({**ours, "metadata": {**ours["metadata"], "resourceVersion": str(version)}})
            await asyncio.sleep(0.001)
        live.note({**ours, "status": {"phase": "Bound"}})
        await waiting
        other.cancel()

    asyncio.run(run())
    assert looked["theirs"] == 1
    assert looked["ours"] > 1


def test_who_waits_too_long_is_told_what_for(live, monkeypatch):
    monkeypatch.setattr("authorizer.live.PATIENCE_S", 0.01)
    with pytest.raises(WaitingError, match="claim home"):
        asyncio.run(live.until(SPACE, lambda: False, lambda: "claim home is Pending"))
