"""What is said to an identity provider, and what is believed of its answers."""

import json
import subprocess
import sys

import pytest
from issuer import fake_issuer, id_token

from primage.clients.openid import Issuer
from primage.errors import PrimageError

TOKENS = {"id_token": id_token(preferred_username="ada@example.org", exp=2_000_000_000), "refresh_token": "next"}


@pytest.fixture
def provider(tmp_path):
    with fake_issuer(tmp_path) as running:
        yield running


def issuer(provider):
    return Issuer(provider.url, "primage-kubectl", provider.authority)


def test_an_issuer_that_calls_itself_otherwise_is_refused(provider):
    provider.describe(issuer="https://login.example.org")
    with pytest.raises(PrimageError, match=r"says that it is 'https://login\.example\.org'"):
        issuer(provider)


def test_an_issuer_that_nobody_vouches_for_is_refused(provider):
    with pytest.raises(PrimageError, match="cannot be reached"):
        Issuer(provider.url, "primage-kubectl")


def test_no_token_goes_anywhere_without_tls(provider):
    provider.describe(token_endpoint=provider.url.replace("https", "http") + "/token")
    with pytest.raises(PrimageError, match="names 'http://"):
        issuer(provider).refresh("secret")
    assert provider.asked == []


def test_a_device_waits_and_waits_longer_when_it_is_told_to(provider):
    provider.describe(device_authorization_endpoint=f"{provider.url}/device")
    provider.answers["/device"] = [
        (200, {"device_code": "d", "user_code": "ABCD", "verification_uri": "https://v", "expires_in": 60, "interval": 0.01})
    ]
    provider.answers["/token"] = [(400, {"error": "authorization_pending"}), (200, TOKENS)]
    shown = []
    tokens = issuer(provider).by_device(lambda *what: shown.append(what))
    assert shown == [("https://v", "ABCD")]
    assert tokens.claims["preferred_username"] == "ada@example.org"
    (_, begun), *tries = provider.asked
    assert begun["code_challenge_method"] == "S256"
    assert [given["device_code"] for _, given in tries] == ["d", "d"]
    assert all(given["code_verifier"] for _, given in tries)


def test_a_provider_without_codes_says_what_to_do(provider):
    with pytest.raises(PrimageError, match="does not offer a login by a code") as refused:
        issuer(provider).by_device(lambda *_: None)
    assert "without --device" in str(refused.value)


def test_a_login_that_has_ended_says_so(provider):
    provider.answers["/token"] = [(400, {"error": "invalid_grant", "error_description": "Token is not active"})]
    with pytest.raises(PrimageError, match="the login has ended: Token is not active") as ended:
        issuer(provider).refresh("old")
    assert "log in again" in str(ended.value)


def test_those_who_ask_at_the_same_time_ask_in_turn_and_nobody_uses_a_token_twice(provider, tmp_path):
    file = tmp_path / "here" / "login.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"issuer": provider.url, "authority": provider.authority, "refresh_token": "0"}))
    count = 5
    provider.answers["/token"] = [(200, {**TOKENS, "refresh_token": str(number)}) for number in range(1, count + 1)]
    run = [sys.executable, "-m", "primage", "credential", str(file)]
    running = [subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(count)]
    for one in running:
        printed, said = one.communicate(timeout=60)
        assert one.returncode == 0, said
        assert json.loads(printed)["status"]["token"] == TOKENS["id_token"]
    assert [given["refresh_token"] for _, given in provider.asked] == [str(number) for number in range(count)]
    assert json.loads(file.read_text())["refresh_token"] == str(count)
    assert file.stat().st_mode & 0o077 == 0
