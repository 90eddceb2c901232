"""Joining, leaving and deciding in the portal; and the identity provider's word that a login has ended."""

import secrets
import time

import pytest
from issuer import FakeIssuer
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from portal_pages import ACCOUNT, ADA, KEY, VO, fields, pages

from portal.clients.logout_tokens import EVENT
from portal.domain.once import Once
from primage.contract import custom_resources as custom
from primage.contract import memberships as contract
from primage.contract.login import PORTAL_CLIENT
from primage.contract.memberships import MembershipRequestSpec, State, Wish
from primage.contract.roles import Role
from primage.contract.vo import MemberSpec
from primage.operations import memberships
from primage.operations.people import people_of

EVE = "eve@example.org"
HTML = "<script>alert(1)</script>\n<img src=x onerror=alert(2)>"


@pytest.fixture
def site(tmp_path):
    with pages(tmp_path) as made:
        yield made


@pytest.fixture
def stranger(site):
    site.claims["groups"] = []
    site.log_in()
    return site


@pytest.fixture
def boss(site):
    site.claims["groups"] = [f"/{VO}", f"/{VO}/admin"]
    site.log_in()
    return site


def post(site, path, **given):
    return site.browser.post(path, data={"csrf": site.csrf(), **given}, follow_redirects=False)


def asked(site, identity=EVE, state=State.ASKED, message=HTML, **status):
    spec = MembershipRequestSpec(identity=identity, wish=Wish.JOIN, roles=(Role.RESEARCHER,), message=message)
    ref = site.clusters.memory.put(contract.request(VO, spec))
    site.clusters.memory.objects[ref]["status"] = {"state": state, **status}
    return ref


# -- joining ---------------------------------------------------------------------------------------------------------


def test_who_is_in_no_vo_asks_to_join_and_takes_it_back(stranger):
    assert 'href="/join"' in stranger.browser.get("/").text
    page = stranger.browser.get("/join").text
    assert "role.researcher" in fields(page)
    assert post(stranger, "/join", vo=VO, **{"role.researcher": "on", "message": "a\r\nb"}).headers["location"] == "/join"
    found = memberships.request_by(stranger.clusters.memory, VO, ADA)
    assert (found.identity, found.roles, found.says) == (ADA, ("researcher",), "a\nb")
    assert "You have asked to join as researcher" in stranger.browser.get("/join").text
    assert post(stranger, f"/join/{VO}/withdraw").status_code == 303
    assert memberships.request_by(stranger.clusters.memory, VO, ADA) is None


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"vo": "other.example.org", "role.guest": "on"}, 404, "no such VO"),
        ({"vo": VO}, 422, "one role or more"),
        ({"vo": VO, "role.root": "on"}, 422, "one role or more"),
        ({"vo": VO, "role.guest": "on", "message": "x" * 501}, 422, "at most 500"),
        ({"vo": VO, "role.guest": "on", "message": "\x1b[31m"}, 422, "plain text"),
    ],
)
def test_what_cannot_be_asked_is_said_on_the_page(stranger, given, status, words):
    answer = post(stranger, "/join", **given)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert stranger.clusters.memory.written == []


def test_a_request_in_somebody_elses_name_cannot_be_made_by_any_field(stranger):
    post(stranger, "/join", vo=VO, identity=EVE, **{"role.guest": "on"})
    assert memberships.request_by(stranger.clusters.memory, VO, EVE) is None
    assert memberships.request_by(stranger.clusters.memory, VO, ADA) is not None


def test_a_refusal_is_told_with_its_reason_and_an_approval_renews_the_login(stranger):
    asked(stranger, ADA, State.REFUSED, decidedBy=EVE, reason="<b>not here</b>")
    page = stranger.browser.get("/join").text
    assert "refused by eve@example.org: &lt;b&gt;not here&lt;/b&gt;" in page
    assert "Ask to join</h2>" in page
    asked(stranger, ADA, State.APPROVED, decidedBy=EVE)
    stranger.issuer.answers["/realms/primage/token"] = [(200, stranger.tokens(groups=[f"/{VO}/researcher"]))]
    assert "You are a member of vo.primage.eu" in stranger.browser.get("/join").text


def test_who_leaves_is_asked_first_and_what_keeps_them_is_said(site, monkeypatch):
    monkeypatch.setattr(memberships, "PATIENCE_S", 0)
    site.log_in()
    assert "Your namespace" in site.browser.get(f"/leave/{VO}").text
    assert site.browser.get("/leave/training.primage.eu").status_code == 404
    assert site.clusters.memory.written == []
    site.issuer.answers["/realms/primage/token"] = [(200, site.tokens(groups=[]))]
    assert post(site, f"/leave/{VO}").headers["location"] == "/"
    assert memberships.request_by(site.clusters.memory, VO, ADA).asks == "leave"
    assert "not a member of a virtual organisation" in site.browser.get("/").text


# -- deciding --------------------------------------------------------------------------------------------------------


def test_an_administrator_sees_requests_as_text_and_decides(boss, monkeypatch):
    monkeypatch.setattr(memberships, "PATIENCE_S", 0)
    asked(boss)
    listed, page = boss.browser.get("/members").text, boss.browser.get(f"/members/{VO}/{EVE}").text
    for text in (listed, page):
        assert "&lt;script&gt;" in text
        assert "<script>alert" not in text
        assert "<img" not in text
    assert (
        post(boss, f"/members/{VO}/{EVE}", do="approve", **{"role.guest": "on", "reason": "hello"}).headers["location"]
        == "/members"
    )
    (found,) = people_of(boss.clusters.memory, VO).decisions
    assert (found.identity, found.asks, found.roles, found.by, found.says) == (EVE, "approve", ("guest",), ADA, "hello")
    # A decision is made once: the next one waits for it.
    again = post(boss, f"/members/{VO}/{EVE}", do="refuse", reason="no")
    assert (again.status_code, "a moment ago" in again.text) == (422, True)


@pytest.mark.parametrize(
    ("path", "given", "status"),
    [
        (f"/members/{VO}/{EVE}", {"do": "rule"}, 400),
        (f"/members/{VO}/{EVE}", {"do": "approve"}, 422),
        (f"/members/training.primage.eu/{EVE}", {"do": "approve", "role.guest": "on"}, 404),
        (f"/members/{VO}/..%2Fx", {"do": "approve", "role.guest": "on"}, 404),
        (f"/members/{VO}/Eve", {"do": "refuse"}, 422),
    ],
)
def test_what_cannot_be_decided_changes_nothing(boss, path, given, status):
    asked(boss)
    assert post(boss, path, **given).status_code == status
    assert boss.clusters.memory.written == []


def test_a_form_of_another_session_decides_nothing(boss):
    asked(boss)
    answer = boss.browser.post(f"/members/{VO}/{EVE}", data={"csrf": "guessed", "do": "refuse"})
    assert answer.status_code == 403
    assert boss.clusters.memory.written == []


def test_members_are_changed_and_removed_on_a_page_of_their_own(boss, monkeypatch):
    monkeypatch.setattr(memberships, "PATIENCE_S", 0)
    boss.clusters.memory.put(custom.member(VO, MemberSpec(identity=EVE, uid=50_000, roles=(Role.GUEST,))))
    page = boss.browser.get(f"/members/{VO}/{EVE}").text
    assert 'name="role.guest" checked' in page
    assert 'value="remove"' in page
    assert 'value="approve"' not in page
    assert boss.browser.get(f"/members/{VO}/nobody@example.org").status_code == 404
    assert post(boss, f"/members/{VO}/{EVE}", do="remove", **{"role.guest": "on"}).status_code == 303
    (found,) = people_of(boss.clusters.memory, VO).decisions
    assert (found.asks, found.roles) == ("remove", ())


# -- logins that have ended elsewhere --------------------------------------------------------------------------------


def logout_token(issuer: FakeIssuer, *, key=KEY, algorithm="RS256", **claims):
    said = {
        "iss": issuer.url,
        "aud": PORTAL_CLIENT,
        "iat": int(time.time()),
        "exp": int(time.time()) + 120,
        "jti": secrets.token_hex(8),
        "sub": ACCOUNT,
        "sid": "login-1",
        "events": {EVENT: {}},
        **claims,
    }
    return jwt.encode({"alg": algorithm, "kid": "1"}, {name: value for name, value in said.items() if value is not None}, key)


def told(site, token):
    """As the provider tells: without a browser's headers."""
    browser = site.another_browser()
    del browser.headers["Origin"], browser.headers["Sec-Fetch-Site"]
    return browser.post("/login/ended", data={"logout_token": token}).status_code


def test_a_login_that_ends_elsewhere_ends_here_and_no_other(site):
    site.log_in(sid="login-1")
    other = site.another_browser()
    site.log_in(other, sid="login-2")
    token = logout_token(site.issuer)
    assert told(site, token) == 200
    assert site.browser.get("/runs", follow_redirects=False).headers["location"].startswith("/login")
    assert other.get("/runs").status_code == 200
    site.log_in(sid="login-1")
    assert told(site, token) == 400, "it was read before"
    assert len(site.portal.sessions) == 2
    assert told(site, logout_token(site.issuer, sid=None)) == 200
    assert len(site.portal.sessions) == 0, "without a login's name it is all of the account's"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example.org"},
        {"aud": "primage-kubectl"},
        {"aud": None},
        {"nonce": "x"},
        {"nonce": ""},
        {"events": None},
        {"events": {"other": {}}},
        {"events": {EVENT: "yes"}},
        {"events": [EVENT]},
        {"iat": int(time.time()) - 3600},
        {"iat": int(time.time()) + 3600},
        {"iat": None},
        {"exp": 1},
        {"exp": None},
        {"jti": None},
        {"sid": None, "sub": None},
        {"sid": ["login-1"]},
        {"sid": "x" * 9000},
        {"key": RSAKey.generate_key(2048, {"kid": "1"}, private=True)},
        {"key": OctKey.import_key(b"password" * 8), "algorithm": "HS256"},
    ],
)
def test_a_token_that_is_not_the_providers_word_for_it_ends_nothing(site, claims):
    site.log_in(sid="login-1")
    assert told(site, logout_token(site.issuer, **claims)) == 400
    assert len(site.portal.sessions) == 1


def test_a_token_of_a_login_is_not_one_of_its_end(site):
    site.log_in(sid="login-1")
    assert told(site, site.tokens(sid="login-1")["id_token"]) == 400
    for text in ("", "x", "a.b.c"):
        assert told(site, text) == 400
    assert len(site.portal.sessions) == 1


def test_another_accounts_token_ends_nobody_elses_login(site):
    site.log_in(sid="login-1")
    assert told(site, logout_token(site.issuer, sub="account-2")) == 200
    assert len(site.portal.sessions) == 1


def test_what_was_seen_is_remembered_for_its_time_and_within_bounds():
    now = 0.0
    seen = Once(lambda: now, most=3)
    assert seen.first("a", 10)
    assert not seen.first("a", 10)
    for name in "bcde":
        assert seen.first(name, 10)
    assert len(seen) == 3
    now = 11
    assert seen.first("e", 10)
    assert len(seen) == 1
