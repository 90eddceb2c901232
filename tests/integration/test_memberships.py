"""Joining a VO, leaving it, and deciding who is in it, on the standing site; and logins that end at the identity provider."""

import json
import os
import secrets
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial

import people
import pytest
import requests
from browsers import come_by_the_hospital
from hpc_machine import until
from people import AUTHORITY, account, administrator, gone, member, person, ready
from portal_visits import URL, by_hand, log_in

from primage.clients.cluster import Cluster, Ref, Refused
from primage.contract import memberships as contract
from primage.contract import names
from primage.contract.audit import Verb
from primage.contract.custom_resources import API_VERSION
from primage.contract.memberships import MembershipDecisionSpec, MembershipRequestSpec, object_name
from primage.operations import memberships
from primage.operations.audit.joined import Wanted
from primage.operations.audit.reading import Found, read

VO = "vo.primage.eu"
SPACE = names.namespace_for(VO)
API_AUTHORITY = "/var/lib/primage/local/kubeconfig.ca.crt"
NOW_S = 60
HTML = "</pre><script>document.title = 'x'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def boss(admin, cluster):
    """Who administers the VO."""
    with person(admin, cluster, "boss", f"/{VO}/admin") as (identity, _):
        yield identity


@pytest.fixture
def stranger(admin, cluster):
    """Whom the identity provider knows, and who is in no VO."""
    identity = f"new{secrets.token_hex(4)}@example.org"
    user = account(admin, identity)
    yield identity
    cluster.delete(_request(identity), propagation="Background")
    cluster.delete(Ref(API_VERSION, contract.DECISION, object_name(identity), SPACE), propagation="Background")
    if member(cluster, identity)["spec"]:
        gone(admin, cluster, identity, user)
    else:
        admin.delete_user(user)


@pytest.fixture
def nora(admin, cluster):
    """Somebody of the hospital whom nobody here has seen: her name there, and here."""
    there = administrator(cluster, "hospital")
    name = f"nora{secrets.token_hex(3)}"
    own, identity = f"{name}@elsewhere.example.org", f"{name}@hospital.example.org"
    known = there.create_user({"username": own, "email": own, "enabled": True, "credentials": [people.CREDENTIAL], **people.NAME})
    yield own, identity
    there.delete_user(known)
    cluster.delete(_request(identity), propagation="Background")
    cluster.delete(Ref(API_VERSION, contract.DECISION, object_name(identity), SPACE), propagation="Background")
    for user in admin.get_users({"username": identity, "exact": True}):
        gone(admin, cluster, identity, user["id"])


def _request(identity):
    return Ref(API_VERSION, contract.REQUEST, object_name(identity), SPACE)


def state(cluster, identity):
    return contract.state_of(cluster.get(_request(identity)) or {})


OTHERS = "net::ERR_NETWORK_CHANGED"
"""What chromium says when other tests make or remove this host's interfaces."""


def visible(browser, complaints):
    page = browser.new_context(ignore_https_errors=True, viewport={"width": 1000, "height": 900}).new_page()
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" and OTHERS not in said.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    return page


def test_somebody_of_the_hospital_asks_is_approved_works_leaves_and_is_logged_out(nora, boss, admin, cluster, browser, tmp_path):
    """Two browsers: hers, and that of who administers the VO."""
    own, identity = nora
    complaints = []
    hers, theirs = visible(browser, complaints), visible(browser, complaints)
    hers.goto(f"{URL}/login?next=/join")
    come_by_the_hospital(hers, own)
    hers.get_by_role("heading", name="Join a virtual organisation").wait_for()
    hers.get_by_label("Virtual organisation").select_option(VO)
    hers.get_by_label("researcher").check()
    hers.get_by_label("Message").fill(f"I work in radiology. {HTML}")
    hers.screenshot(path=str(tmp_path / "join.png"))
    hers.get_by_role("button", name="Ask to join").click()
    hers.get_by_text("You have asked to join as researcher").wait_for()

    until("the request has been seen", lambda: state(cluster, identity) == contract.State.ASKED, NOW_S)
    log_in(theirs, boss)
    theirs.get_by_role("link", name="Members").click()
    theirs.get_by_role("link", name=identity).click()
    assert theirs.get_by_text(HTML, exact=False).is_visible(), "it is text, whatever is in it"
    theirs.get_by_label("developer").check()
    theirs.get_by_label("Reason").fill("of the radiology")
    theirs.screenshot(path=str(tmp_path / "decide.png"))
    theirs.get_by_role("button", name="Approve with these roles").click()
    theirs.wait_for_url(f"{URL}/members")
    ready(cluster, identity)
    assert set(member(cluster, identity)["spec"]["roles"]) == {"researcher", "developer"}
    hers.reload()
    hers.get_by_text(f"{boss} has approved your request").wait_for()
    hers.get_by_role("link", name="You", exact=True).click()
    hers.get_by_role("link", name=f"Leave {VO}").wait_for()

    theirs.goto(f"{URL}/members/{VO}/{identity}")
    theirs.get_by_label("developer").uncheck()
    theirs.get_by_role("button", name="Change to these roles").click()
    theirs.wait_for_url(f"{URL}/members")
    until("her roles are changed", lambda: member(cluster, identity)["spec"]["roles"] == ["researcher"], NOW_S)

    hers.get_by_role("link", name=f"Leave {VO}").click()
    hers.get_by_role("button", name=f"Leave {VO}").click()
    hers.get_by_text("You are not a member of a virtual organisation").wait_for()
    until("she has no role", lambda: member(cluster, identity)["spec"]["roles"] == [], NOW_S)
    assert cluster.get(Ref("v1", "Namespace", names.namespace_for(identity))), "her namespace stays"
    assert complaints == []

    (user,) = admin.get_users({"username": identity, "exact": True})
    admin.user_logout(user["id"])
    hers.reload()
    hers.get_by_role("heading", name="Welcome").wait_for()
    wanted = Wanted(datetime.now(UTC) - timedelta(minutes=5), member=identity, verbs=frozenset({Verb.DECIDED}))
    lines = [(line.who.account, line.why) for line in read("local", wanted, Found())]
    assert lines == [
        (boss, "approve researcher, developer: of the radiology"),
        (boss, "change researcher"),
        (identity, "they have left by themselves"),
    ]


def test_a_login_that_an_administrator_ends_at_keycloak_ends_in_the_portal_at_once(admin, stranger):
    hers = by_hand(stranger)
    assert hers.get(f"{URL}/join", timeout=30).status_code == 200
    (user,) = admin.get_users({"username": stranger, "exact": True})
    admin.user_logout(user["id"])
    after = hers.get(f"{URL}/join", timeout=30, allow_redirects=False)
    assert after.headers["Location"].startswith("/login"), "Keycloak answers once it has told the portal"
    forged = requests.post(f"{URL}/login/ended", data={"logout_token": "a.b.c"}, verify=AUTHORITY, timeout=30)
    assert forged.status_code == 400


def as_person(identity, folder):
    """A connection with somebody's own token, as `primage login` gives one."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "s",
        "clusters": [{"name": "s", "cluster": {"server": "https://10.89.77.11:6443", "certificate-authority": API_AUTHORITY}}],
        "users": [{"name": "s", "user": {"token": people.token(identity)}}],
        "contexts": [{"name": "s", "context": {"cluster": "s", "user": "s"}}],
    }
    file = folder / f"{object_name(identity)}.kubeconfig"
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    return file


def test_what_somebody_else_writes_decides_nothing(stranger, boss, admin, cluster, tmp_path):
    """Everything that is refused is so by Kubernetes itself, with a real token."""
    hers = Cluster(str(as_person(stranger, tmp_path)))
    asked = contract.request(VO, MembershipRequestSpec(identity=stranger, wish="join", roles=("guest",), message=HTML))
    hers.create(asked, manager="test")
    for obj, says in (
        (asked, "already exists"),
        ({**asked, "metadata": {**asked["metadata"], "name": "second"}}, f"Set metadata.name: {object_name(stranger)}"),
        (contract.request(VO, MembershipRequestSpec(identity=boss, wish="leave")), "ask for themselves alone"),
        (
            contract.request("other.example.org", MembershipRequestSpec(identity=stranger, wish="join", roles=("admin",))),
            "cannot create",
        ),
        (_decision(stranger, by=stranger), "cannot create"),
        (_decision(stranger, by=boss), "cannot create"),
    ):
        with pytest.raises(Refused, match=says):
            hers.create(obj, manager="test")
    for change in ({"spec": {"roles": ["admin"]}}, {"metadata": {"annotations": {"a": "b"}}}):
        with pytest.raises(Refused):
            hers.patch(Ref.of(asked), change, manager="test")
    found = memberships.own_request(hers, VO, stranger)
    assert (found.identity, found.says) == (stranger, HTML), "one's own can be read"
    with pytest.raises(Refused):
        hers.get(Ref.of(asked))
    until("it has been seen", lambda: state(cluster, stranger) == contract.State.ASKED, NOW_S)

    # What admission would not have let through is looked at once more: this operator's kubeconfig may write anything.
    forged = _decision(stranger, by=stranger)
    cluster.create(forged, manager="test")
    until("it is refused", lambda: contract.state_of(cluster.get(Ref.of(forged)) or {}) is contract.State.REFUSED, NOW_S)
    assert "not theirs to decide" in cluster.get(Ref.of(forged))["status"]["problem"]
    assert not member(cluster, stranger)["spec"]
    (user,) = admin.get_users({"username": stranger, "exact": True})
    assert admin.get_user_groups(user["id"]) == []


def _decision(identity, by):
    spec = MembershipDecisionSpec(identity=identity, verdict="approve", roles=("admin",), decided_by=by)
    return contract.decision(VO, spec)


def test_the_same_in_a_terminal(stranger, boss, cluster, tmp_path):
    def primage(identity, *arguments):
        environment = {**os.environ, "PRIMAGE_KUBECONFIG": files[identity], "PRIMAGE_HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-m", "primage", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    files = {identity: str(as_person(identity, tmp_path)) for identity in (stranger, boss)}
    mine, theirs = partial(primage, stranger), partial(primage, boss)
    assert "You do not ask for anything" in mine("join", "local", VO).stdout
    assert json.loads(mine("join", "local", VO, "--role", "guest", "--message", "hello", "--json").stdout)["asks"] == "join"
    assert mine("join", "local", VO, "--role", "root").returncode == 3
    assert "cannot list" in mine("members", "list", "local", VO).stderr
    until("it has been seen", lambda: state(cluster, stranger) == contract.State.ASKED, NOW_S)
    listed = json.loads(theirs("members", "list", "local", VO, "--json").stdout)[VO]
    assert [one["says"] for one in listed["requests"] if one["identity"] == stranger] == ["hello"]
    assert stranger in theirs("members", "list", "local", VO).stdout
    refused = theirs("members", "refuse", "local", VO, stranger, "--reason", "another time")
    assert "refuse vo.primage.eu: Done" in refused.stdout, refused.stderr
    told = mine("join", "local", VO)
    assert f"Refused by {boss} (another time)" in told.stdout
    unasked = theirs("members", "approve", "local", VO, stranger, "--role", "guest")
    assert (unasked.returncode, "unasked" in unasked.stderr) == (3, True)
