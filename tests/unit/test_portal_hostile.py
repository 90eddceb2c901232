"""Tokens, answers and groups that somebody has made up, shown to the portal."""

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from portal_pages import ADA, KEY, VO, pages

from portal.domain.person import person_of
from portal.pages.shared import BEGUN, SESSION
from primage.contract.roles import Role

PUBLIC = KEY.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
ROLES = [role.value for role in Role]


@pytest.fixture
def site(tmp_path):
    with pages(tmp_path) as running:
        yield running


def part(value):
    return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=").decode()


def arrived_with(site, change):
    """The answer to a browser that comes back from a login whose token has been changed."""
    asked = site.begin(site.browser)
    given_tokens = site.tokens(asked["nonce"])
    token = change(*given_tokens["id_token"].split("."))
    site.issuer.answers["/realms/primage/token"] = [(200, {**given_tokens, "id_token": token})]
    return site.browser.get("/login/done", params={"code": "code", "state": asked["state"], "iss": site.issuer.url})


def with_the_public_key(_, body, __):
    text = f"{part({'alg': 'HS256', 'kid': '1'})}.{body}"
    return f"{text}.{part(hmac.digest(PUBLIC, text.encode(), hashlib.sha256))}"


def of_somebody_else(head, body, signature):
    said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return f"{head}.{part({**said, 'preferred_username': 'eve@example.org'})}.{signature}"


@pytest.mark.parametrize(
    "change",
    [
        with_the_public_key,
        of_somebody_else,
        lambda head, body, signature: f"{head}.{body}.{signature[:-8]}",
        lambda head, body, _: f"{head}.{body}.",
        lambda head, body, _: f"{head}.{body}",
        lambda *_: "",
    ],
    ids=["the public key as a secret", "tampered with", "cut off", "no signature", "two parts", "nothing"],
)
def test_a_token_that_the_issuer_has_not_signed_lets_nobody_in(site, change, caplog):
    done = arrived_with(site, change)
    assert done.status_code == 400
    assert "Try again" in done.text, "it says what to do"
    assert "a login is refused: " in caplog.text
    assert SESSION not in done.cookies
    assert len(site.portal.sessions) == 0


def test_an_answer_that_is_brought_again_is_worth_nothing(site):
    asked = site.begin(site.browser)
    stolen = site.browser.cookies[BEGUN]
    site.issuer.answers["/realms/primage/token"] = [(200, site.tokens(asked["nonce"])), (400, {"error": "invalid_grant"})]
    answer = {"code": "code", "state": asked["state"], "iss": site.issuer.url}
    assert site.browser.get("/login/done", params=answer, follow_redirects=False).status_code == 303
    again = site.browser.get("/login/done", params=answer, follow_redirects=False)
    assert again.status_code == 400
    assert "has begun no login" in again.text
    thief = site.another_browser()
    thief.cookies.set(BEGUN, stolen)
    assert thief.get("/login/done", params=answer, follow_redirects=False).status_code == 400, "the provider takes no code twice"
    assert len(site.portal.sessions) == 1


STRANGE = [
    "/{vo}/{role}/../x",
    "/{vo}/x/../{role}",
    "/{vo}/./{role}",
    "//{vo}//{role}",
    "/{vo}//{role}",
    "{vo}/{role}",
    "/{vo}/{role}/",
    "/{vo}/{role} ",
    " /{vo}/{role}",
    "/{vo}/{role}\n",
    "/{vo}/{role}/{role}",
    "/{vo}%2F{role}",
    "/{vo}~/{role}",
    "/x/{vo}/{role}",
    "/{vo}.evil.org/{role}",
]


@pytest.mark.parametrize("group", STRANGE)
def test_a_group_that_looks_like_a_role_is_none(group):
    groups = [group.format(vo=VO, role=role) for role in ROLES]
    groups += [group.format(vo=VO.upper(), role=role.upper()) for role in ROLES]
    person = person_of({"preferred_username": ADA, "sub": "1", "groups": groups}, [VO])
    assert [role for one in person.memberships for role in one.roles] == []


@given(st.lists(st.text(max_size=250) | st.integers() | st.none() | st.lists(st.text(max_size=3), max_size=2), max_size=8))
def test_whatever_groups_a_token_has_only_the_sites_own_words_count(groups):
    person = person_of({"preferred_username": ADA, "sub": "1", "groups": groups}, [VO])
    told = {group for group in groups if isinstance(group, str)}
    assert {role.value for one in person.memberships for role in one.roles} == {role for role in ROLES if f"/{VO}/{role}" in told}


@pytest.mark.parametrize(
    "name", [300 * "a" + "@example.org", "\N{CYRILLIC SMALL LETTER A}da@example.org", "../ada@example.org", "x\n\ny"]
)
def test_a_name_that_no_member_can_have_gets_a_page_and_nothing_else(site, name):
    site.log_in(preferred_username=name)
    answer = site.browser.get("/")
    assert answer.status_code in (200, 403)
    assert "Traceback" not in answer.text


def test_a_form_that_another_page_has_sent_is_logged(site, caplog):
    site.log_in()
    site.browser.post("/logout", data={"csrf": "guessed"})
    site.browser.post("/logout", data={"csrf": site.csrf()}, headers={"Origin": "https://evil.example.org"})
    site.browser.get("/" + 300 * "x", headers={"Host": "evil.example.org"})
    assert "'/logout' is refused: this form was not sent from a page of your session" in caplog.text
    assert "'/logout' is refused: this form was not sent from a page of the portal" in caplog.text
    assert 201 * "x" not in caplog.text
    assert len(site.portal.sessions) == 1
