"""One connector for a VO and its members: each is served with what is theirs, as long as they are there, whatever others do."""

import os
import stat

import pytest
from fake_api import VO
from hpc_connector_that_dies import ONE_OF
from hpc_local import ROOT, Local
from waiting import until

from hpc_connector.domain.tenant import Tenant, tenant_of_member, tenant_of_vo
from primage.contract.hpc import log_file

BROKEN = str(ROOT / "tests/helpers/hpc_connector_that_dies.py")
ADA, BOB = "ada@vo.eu", "bob@vo.eu"
ADAS, BOBS = "ada-at-vo-dot-eu", "bob-at-vo-dot-eu"
UIDS = {ADA: 40001, BOB: 40002} if os.getuid() == 0 else {ADA: os.getuid(), BOB: os.getuid()}


@pytest.fixture
def local(tmp_path):
    """A VO with two members, of whom the first alone has credentials."""
    found = Local(tmp_path)
    found.homes = {identity: found.home_server.folder(identity, uid) for identity, uid in UIDS.items()}
    for identity in UIDS:
        found.api.member(identity)
    found.api.secret("backend-hpc", found.centre.secret(), ADAS)
    yield found
    found.stop()


def said(local, identity, name, uid):
    return (local.homes[identity] / log_file(name, uid, 1)).read_text()


def ends(local, space, name="job", script="echo fine", **more):
    uid = local.api.job(name, script, space=space, **more)
    local.ends(name, space=space)
    return uid


def test_a_members_job_runs_with_their_credentials_and_their_files_and_what_it_makes_is_theirs(local):
    (local.homes[ADA] / "in").write_text("of ada")
    (local.homes[ADA] / "in").chmod(0o600)
    os.chown(local.homes[ADA] / "in", UIDS[ADA], -1)
    local.start()
    uid = ends(local, ADAS, script="cat in; echo made > out", inputs=["in"], outputs=["out"])
    assert said(local, ADA, "job", uid) == "of ada"
    made = local.homes[ADA] / "out"
    assert made.stat().st_uid == UIDS[ADA]
    assert stat.S_IMODE(made.stat().st_mode) == 0o660
    assert not (local.homes[BOB] / "jobs").exists()


def test_a_secret_that_appears_is_used_and_nobody_elses_until_then(local):
    local.start()
    local.api.job("job", "echo fine", space=BOBS)
    ends(local, ADAS)
    until("people are told", lambda: any(event["reason"] == "CredentialsMissing" for event in local.api.events))
    assert local.api.condition("job", BOBS) == ""
    assert not local.centre.states(local.api.live("job", space=BOBS)["metadata"]["uid"])
    local.api.secret("backend-hpc", local.centre.secret(), BOBS)
    local.ends("job", space=BOBS)


def test_who_comes_is_served_and_who_leaves_is_not_and_again_once_they_are_back(local):
    local.start()
    ends(local, ADAS)
    local.home_server.folder("eve@vo.eu")
    space = local.api.member("eve@vo.eu")
    local.api.secret("backend-hpc", local.centre.secret(), space)
    ends(local, space)
    local.api.delete(space, "members")
    until("it is let go", lambda: f"{space}: served no longer" in local.log.read_text())
    local.api.job("later", "echo later", space=space)
    ends(local, ADAS, "another")
    assert local.api.live("later", space=space)["status"] == {}
    local.api.member("eve@vo.eu")
    local.ends("later", space=space)


UNFIT = {
    "another VO's": {"primage.eu/vo": "other"},
    "another member's": {"primage.eu/user": BOBS},
    "not made by the site": {"primage.eu/made-by": ""},
}


@pytest.mark.parametrize("labels", UNFIT.values(), ids=UNFIT)
def test_a_namespace_without_its_tenants_labels_is_not_served(local, labels):
    local.api.space(ADAS, **labels)
    local.api.job("job", "echo fine", space=ADAS)
    local.start()
    until("it is said", lambda: f"namespace {ADAS} does not carry the labels" in local.log.read_text())
    ends(local, VO)
    assert local.api.live("job", space=ADAS)["status"] == {}


@pytest.mark.parametrize("point", ["one-fails", "one-hangs"])
def test_a_mistake_about_one_keeps_nobody_else_waiting_and_is_begun_again(local, point):
    assert ONE_OF == ADAS
    local.start((BROKEN, point), PRIMAGE_GRACE_S="1", PRIMAGE_WATCH_S="1")
    words = {"one-fails": "a mistake nobody thought of", "one-hangs": "no longer turning"}[point]
    until("it has ended twice", lambda: local.log.read_text().count(words) > 1)
    ends(local, VO)
    before = local.alive.stat().st_mtime_ns
    until("it is alive", lambda: local.alive.stat().st_mtime_ns > before)
    assert local.runs()


def test_a_namespace_that_was_made_again_is_another(local):
    local.start(PRIMAGE_WATCH_S="0.5")
    ends(local, ADAS)
    local.api.space(ADAS)
    until("it is seen", lambda: f"namespace {ADAS} is not the one that it was" in local.log.read_text())
    ends(local, ADAS, "another")


@pytest.mark.parametrize(
    ("identity", "name", "space"),
    [
        (ADA, ADAS, None),
        (ADA, ADAS, "kube-system"),
        (ADA, "kube-system", "kube-system"),
        (BOB, ADAS, ADAS),
        ("../x", "x--1", "x--1"),
        ("", "", ""),
        (None, "none", "none"),
        ("vo", "vo", "vo"),
    ],
)
def test_a_member_that_does_not_fit_together_is_nobody(identity, name, space):
    member = {"metadata": {"name": name}, "spec": {"identity": identity}, "status": {"namespace": space}}
    assert tenant_of_member("vo", member) is None


def test_whose_a_namespace_is_says_its_labels():
    member = {"metadata": {"name": ADAS}, "spec": {"identity": ADA}, "status": {"namespace": ADAS}}
    ada, vo = tenant_of_member("vo", member), tenant_of_vo("vo")
    assert ada == Tenant(ADAS, ADA, "vo")
    made = {"primage.eu/made-by": "site", "primage.eu/vo": "vo"}
    assert (vo.has(made), ada.has(made)) == (True, False)
    assert (vo.has({**made, "primage.eu/user": ADAS}), ada.has({**made, "primage.eu/user": ADAS})) == (False, True)
