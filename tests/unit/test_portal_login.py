"""Logging in to the portal: who is believed, where a browser is sent, what it keeps, and what a hostile page can have it do."""

import base64
import json
import re
import threading
import time
from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey, RSAKey
from portal_pages import ADA, URL, VO, Pages, fields, pages

from portal.domain import sessions as kept
from portal.domain.addresses import local_path
from portal.domain.person import Person, person_of
from portal.domain.sessions import MOST, MOST_OF_ONE, Sessions, Tokens
from portal.guard import MOST_BYTES
from portal.pages.shared import BEGUN, SESSION
from primage.clients.cluster import Ref
from primage.contract.realm import SESSION_IDLE_S, SESSION_S

TOKENS = Tokens("token", "refresh", 0)


@pytest.fixture
def site(tmp_path):
    with pages(tmp_path) as running:
        yield running


def cookies(answer):
    found = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        found.load(line)
    return found


# -- logging in ------------------------------------------------------------------------------------------------------


def test_a_login_asks_with_pkce_for_this_portal_and_comes_back_to_the_page_that_was_asked_for(site):
    asked = site.begin(site.browser, "/runs?page=2")
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{URL}/login/done"
    assert asked["client_id"] == "primage-portal"
    assert len(asked["state"]) >= 32
    assert len(asked["nonce"]) >= 32
    done = site.log_in(after="/runs?page=2")
    assert done.headers["location"] == "/runs?page=2"
    path, sent = site.issuer.asked[-1]
    assert path == "/realms/primage/token"
    assert sent["client_secret"] == "password"
    assert len(sent["code_verifier"]) >= 43
    assert sent["code_verifier"] not in json.dumps(asked), "the verifier is not where the challenge is"


def test_what_a_browser_keeps_cannot_be_read_by_scripts_or_sent_by_other_sites_and_says_nothing(site):
    done = cookies(site.log_in())
    session = done[SESSION]
    assert SESSION.startswith("__Host-")
    assert (session["secure"], session["httponly"], session["samesite"], session["path"]) == (True, True, "lax", "/")
    assert session["domain"] == ""
    assert len(base64.urlsafe_b64decode(session.value + "=")) == 32, "a number, and nothing about anybody"
    assert done[BEGUN].value == "", "and of the login that has ended, nothing"
    begun = cookies(site.another_browser().get("/login", follow_redirects=False))[BEGUN]
    assert (begun["secure"], begun["httponly"], begun["samesite"], begun["max-age"]) == (True, True, "lax", "600")


def test_every_login_has_a_number_of_its_own_and_ends_the_one_before(site):
    first = cookies(site.log_in())[SESSION].value
    begun = site.portal.provider.begin("/")[1]
    assert begun
    site.browser.cookies.delete(SESSION)
    site.browser.cookies.set(SESSION, first)
    asked = site.begin(site.another_browser())
    assert asked["state"]
    assert len(site.portal.sessions) == 1


def test_a_login_that_another_browser_has_begun_is_refused(site):
    asked = site.begin(site.another_browser())
    site.issuer.answers["/realms/primage/token"] = [(200, site.tokens(asked["nonce"]))]
    done = site.browser.get("/login/done", params={"code": "theirs", "state": asked["state"], "iss": site.issuer.url})
    assert done.status_code == 400
    assert "has begun no login" in done.text
    assert SESSION not in cookies(done)
    assert site.issuer.asked == [], "the code was not even shown to the provider"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"state": "another"}, "belongs to another login"),
        ({"iss": "https://evil.example.org/realms/primage"}, "does not come from this site"),
        ({"iss": None}, "does not come from this site"),
        ({"code": None, "error": "access_denied"}, "access_denied"),
        ({"code": None, "error": "<script>alert(1)</script>"}, "&lt;script&gt;"),
    ],
)
def test_an_answer_that_is_not_the_providers_to_this_login_is_refused(site, answer, words):
    asked = site.begin(site.browser)
    site.issuer.answers["/realms/primage/token"] = [(200, site.tokens(asked["nonce"]))]
    given = {"code": "code", "state": asked["state"], "iss": site.issuer.url, **answer}
    done = site.browser.get("/login/done", params={key: value for key, value in given.items() if value is not None})
    assert done.status_code == 400
    assert words in done.text
    assert "<script>" not in done.text
    assert len(site.portal.sessions) == 0


OTHER_KEY = RSAKey.generate_key(2048, {"kid": "1"}, private=True)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://evil.example.org/realms/primage"},
        {"aud": ["primage-kubectl"]},
        {"azp": "primage-kubectl"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"preferred_username": None},
        {"preferred_username": ["ada"]},
        {"key": OTHER_KEY},
        {"key": OctKey.import_key(b"password" * 8), "algorithm": "HS256"},
    ],
)
def test_a_token_that_is_not_the_issuers_for_this_login_is_refused(site, claims):
    done = site.log_in(**claims)
    assert done.status_code == 400, done.headers
    assert len(site.portal.sessions) == 0


def test_a_token_that_nobody_has_signed_is_refused(site):
    asked = site.begin(site.browser)
    given = site.tokens(asked["nonce"])
    _, body, _ = given["id_token"].split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    site.issuer.answers["/realms/primage/token"] = [(200, {**given, "id_token": f"{head}.{body}."})]
    done = site.browser.get("/login/done", params={"code": "code", "state": asked["state"], "iss": site.issuer.url})
    assert done.status_code == 400


def test_a_provider_that_is_away_is_said_to_be_and_its_address_is_asked_again(site):
    described = site.issuer.answers.pop("/realms/primage/.well-known/openid-configuration")
    assert site.browser.get("/login").status_code == 503
    site.issuer.answers["/realms/primage/.well-known/openid-configuration"] = described
    assert site.browser.get("/login").status_code == 503, "and for a moment it is not asked"
    site.portal.provider._silent_until = 0
    assert site.log_in().status_code == 303


# -- staying so ------------------------------------------------------------------------------------------------------


def test_tokens_are_renewed_once_however_many_ask_and_roles_with_them(site):
    site.log_in(exp=int(time.time()) + 60)
    site.issuer.asked.clear()
    site.issuer.answers["/realms/primage/token"] = [(200, site.tokens(groups=[f"/{VO}/admin"]))]
    number = site.browser.cookies[SESSION]
    seen = []

    def look():
        browser = site.another_browser()
        browser.cookies.set(SESSION, number)
        seen.append(browser.get("/").text)

    several = [threading.Thread(target=look) for _ in range(5)]
    for one in several:
        one.start()
    for one in several:
        one.join(30)
    assert len(seen) == 5
    assert [given["refresh_token"] for _, given in site.issuer.asked] == ["next"], "a token to refresh with is good once"
    assert all("looks after what runs for the whole VO" in text for text in seen)


def test_a_login_that_the_provider_has_ended_ends_here(site):
    site.log_in(exp=int(time.time()) + 60)
    site.issuer.answers["/realms/primage/token"] = [(400, {"error": "invalid_grant", "error_description": "Session not active"})]
    assert site.browser.get("/").text.count("Log in") > 0
    assert len(site.portal.sessions) == 0


def test_tokens_of_somebody_else_end_a_login(site):
    site.log_in(exp=int(time.time()) + 60)
    site.issuer.answers["/realms/primage/token"] = [(200, site.tokens(sub="account-2"))]
    site.browser.get("/")
    assert len(site.portal.sessions) == 0


# -- logging out -----------------------------------------------------------------------------------------------------


def test_after_logout_a_stolen_cookie_is_worth_nothing(site):
    site.log_in()
    stolen = site.browser.cookies[SESSION]
    assert ADA in site.browser.get("/").text
    done = site.browser.post("/logout", data={"csrf": site.csrf()})
    assert done.status_code == 200
    assert "at the identity provider" in done.text
    path, sent = site.issuer.asked[-1]
    assert (path, sent["refresh_token"]) == ("/realms/primage/end", "next"), "the provider ended it too"
    thief = site.another_browser()
    thief.cookies.set(SESSION, stolen)
    assert ADA not in thief.get("/").text
    assert len(site.portal.sessions) == 0


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((500, {}), False),
        ((400, {"error": "invalid_request"}), False),
        ((401, {"error": "invalid_client"}), False),
        ((302, {}), False),
        ((400, {"error": "invalid_grant"}), True),
    ],
)
def test_a_provider_that_does_not_end_a_login_is_said_and_the_session_ends_nevertheless(site, answer, told):
    site.log_in()
    site.issuer.answers["/realms/primage/end"] = [answer]
    done = site.browser.post("/logout", data={"csrf": site.csrf()})
    assert ("could not be told" not in done.text) is told
    assert len(site.portal.sessions) == 0


# -- other sites' pages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"{URL}:8443"}, 403),
        ({"Origin": f"{URL}.evil.org"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json"}, 415),
        ({"Host": "evil.example.org"}, 421),
    ],
)
def test_a_form_of_another_site_changes_nothing(site, headers, status):
    site.log_in()
    csrf = site.csrf()
    body = f"csrf={csrf}"
    usual = {"Content-Type": "application/x-www-form-urlencoded"}
    assert site.browser.post("/logout", content=body, headers={**usual, **headers}).status_code == status
    assert len(site.portal.sessions) == 1


def test_a_form_without_an_origin_or_a_token_of_this_session_changes_nothing(site):
    site.log_in()
    theirs = Pages(site.portal, site.issuer, site.clusters, site.another_browser())
    theirs.log_in(sub="account-2", preferred_username="eve@example.org")
    for data in ({"other": "x"}, {"csrf": ""}, {"csrf": theirs.csrf()}, {"csrf": "ü"}):
        assert site.browser.post("/logout", data=data).status_code == 403
    csrf = site.csrf()
    del site.browser.headers["Origin"]
    assert site.browser.post("/logout", data={"csrf": csrf}).status_code == 403
    assert len(site.portal.sessions) == 2


def test_every_answer_tells_browsers_what_the_page_may_do(site):
    site.log_in()
    for path in ("/", "/health", "/nowhere", "/static/portal.css", "/login/done"):
        headers = site.browser.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"


def test_no_page_has_script_or_style_in_it(site, repository):
    for path in (repository / "services/portal/portal/templates").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:|\|\s*safe", text), path


def test_a_body_has_an_end_whatever_its_length_is_said_to_be(site):
    site.log_in()
    usual = {"Content-Type": "application/x-www-form-urlencoded"}
    long = b"a=" + b"x" * MOST_BYTES
    assert site.browser.post("/logout", content=long, headers=usual).status_code == 413
    assert site.browser.post("/logout", content=iter([long]), headers=usual).status_code == 413
    assert site.browser.post("/logout", content="&".join(f"f{n}=" for n in range(1000)), headers=usual).status_code == 400
    assert site.browser.get("/?" + "x" * 5000).status_code == 414
    assert site.browser.request("DELETE", "/").status_code == 405


@given(st.text(max_size=40))
def test_nobody_is_sent_to_another_host(text):
    for given_path in (text, f"/{text}", f"//{text}", f"/\\{text}", f"https://{text}"):
        found = local_path(given_path)
        assert re.fullmatch(r"/([A-Za-z0-9._~!$&'()*+,;=:@%?-][A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?", found), found


@pytest.mark.parametrize(
    "text", ["//evil.org", "/\\evil.org", "https://evil.org", "/\t/evil.org", "javascript:alert(1)", "", "runs", "/" + "x" * 600]
)
def test_what_is_no_path_of_the_portal_is_the_first_page(text, site):
    assert local_path(text) == "/"
    assert site.log_in(after=text).headers["location"] == "/"


# -- sessions --------------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def somebody(name="ada@example.org"):
    return Person(name, name, ())


def test_sessions_are_bounded_and_the_one_that_was_not_used_for_longest_makes_room():
    clock = Clock()
    sessions = Sessions(clock)
    numbers = []
    for number in range(MOST_OF_ONE):
        clock.now = number
        numbers.append(sessions.begin(somebody(), TOKENS)[0])
    clock.now = 100
    assert sessions.find(numbers[0])
    _, gone = sessions.begin(somebody(), TOKENS)
    assert len(gone) == 1
    assert sessions.find(numbers[1]) is None
    assert sessions.find(numbers[0])
    for number in range(MOST + 50):
        sessions.begin(somebody(f"{number}@example.org"), TOKENS)
    assert len(sessions) == MOST


def test_a_session_ends_when_it_is_not_used_and_in_any_case_after_a_day():
    clock = Clock()
    sessions = Sessions(clock)
    idle = sessions.begin(somebody(), TOKENS)[0]
    clock.now = SESSION_IDLE_S + 1
    assert sessions.find(idle) is None
    used = sessions.begin(somebody(), TOKENS)[0]
    begun = clock.now
    while clock.now < begun + SESSION_S:
        assert sessions.find(used)
        clock.now += SESSION_IDLE_S / 2
    clock.now = begun + SESSION_S + 1
    assert sessions.find(used) is None
    assert len(sessions) == 0


def test_no_token_is_printed_with_a_session():
    sessions = Sessions(Clock())
    number, _ = sessions.begin(somebody(), Tokens("id-token-text", "refresh-token-text", 0))
    shown = repr(sessions.find(number))
    assert "id-token-text" not in shown
    assert "refresh-token-text" not in shown
    assert kept.TOKEN_BYTES == 32


# -- who somebody is -------------------------------------------------------------------------------------------------


def test_roles_are_those_of_the_vos_that_the_site_serves():
    groups = [f"/{VO}/researcher", f"/{VO}/admin", f"/{VO}/emperor", "/other.example.org/admin", 7, f"/{VO}/admin/sub"]
    person = person_of({"preferred_username": ADA, "sub": "1", "groups": groups}, [VO, "training.primage.eu"])
    assert [(one.vo, [role.value for role in one.roles]) for one in person.memberships] == [(VO, ["admin", "researcher"])]
    assert person.membership(VO).administers
    assert person.membership("other.example.org") is None
    assert person_of({"preferred_username": ADA, "sub": "1", "groups": "/x"}, [VO]).memberships == ()


QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "quota", "namespace": "ada-at-example-dot-org"},
    "status": {"hard": {"requests.cpu": "4", "pods": "20", "requests.nvidia.com/gpu": "0"}, "used": {"requests.cpu": "1500m"}},
}


def test_a_page_says_who_somebody_is_what_they_may_do_and_what_they_have_used(site):
    site.clusters.memory.objects[Ref.of(QUOTA)] = QUOTA
    site.log_in()
    text = site.browser.get("/").text
    for words in (
        ADA,
        "runs jobs on the VO&#39;s data",
        "ada-at-example-dot-org",
        "vo-dot-primage-dot-eu",
        "1500m",
        "37 %",
        "none to be had",
    ):
        assert words in text, words
    assert set(site.clusters.tokens) == {site.portal.sessions.find(site.browser.cookies[SESSION]).tokens.id_token}
    assert fields(text)["csrf"]


def test_who_may_not_see_a_quota_still_has_a_page(site):
    site.clusters.memory.forbidden.add("ResourceQuota")
    site.log_in(groups=[])
    answer = site.browser.get("/")
    assert answer.status_code == 200
    assert "not a member of a virtual organisation" in answer.text
    assert "you may not see it" in answer.text


def test_hostile_names_are_text(site):
    site.log_in(preferred_username='"><script>alert(1)</script>@example.org')
    text = site.browser.get("/").text
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
