"""Logins at the standing site's Keycloak while it is killed, and by a code, in a real browser."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import people
import pytest
import requests
from browsers import fill_in
from machine import process_in
from people import AUTHORITY, ISSUER, log_in, person
from portal_visits import URL
from waiting import until

from primage.clients.cluster import Cluster, Ref, Refused
from primage.contract import names
from primage.contract.login import KEYCLOAK
from primage.errors import ExitCode

VO = "vo.primage.eu"
SOON_S = 60
START_S = 180
"""Keycloak takes half a minute to start where nothing else runs."""


@pytest.fixture(scope="module")
def ada(admin, cluster):
    with person(admin, cluster, "ada", f"/{VO}/researcher") as (identity, _):
        yield identity


@pytest.fixture
def environment(tmp_path):
    """Of somebody's own machine."""
    return {**os.environ, "PRIMAGE_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}


@contextmanager
def logging_in(environment, folder, *options):
    """`primage login local`, on its way: the process, and a function that gives what it has shown."""
    shown = folder / "shown"
    with shown.open("w") as stream:
        running = subprocess.Popen(
            [sys.executable, "-m", "primage", "login", "local", "--json", *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            cwd=people.ROOT,
        )
    try:
        yield running, shown.read_text
    finally:
        running.kill()
        running.wait()


# -- by a code -------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(browser):
    """The browser of somebody who does not trust the site's authority otherwise."""
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(SOON_S * 1000)
    yield context.new_page()
    context.close()


def code_shown(shown):
    """The address and the code of a login by code."""
    found = until("it shows a code", lambda: re.search(r"Open (https://\S+)\nThe code is (\S+)", shown()), SOON_S)
    return found[1], found[2]


def test_who_types_the_code_and_consents_is_logged_in_and_who_is_sent_the_address_is_asked(ada, environment, tmp_path, page):
    with logging_in(environment, tmp_path, "--device") as (running, shown):
        address, code = code_shown(shown)
        assert urlsplit(address).netloc == urlsplit(ISSUER).netloc
        page.goto(address.partition("?")[0])
        page.fill("#device-user-code", code)
        page.locator("form input[type=submit], form button[type=submit]").first.click()
        fill_in(page, ada)
        assert running.poll() is None, "a password alone logs no other machine in"
        page.get_by_role("heading", name=re.compile("Grant Access")).wait_for()
        page.screenshot(path=str(tmp_path / "consent.png"))
        page.locator("#kc-login").click()
        page.get_by_text(re.compile("Device Login Successful")).first.wait_for()
        printed, _ = running.communicate(timeout=SOON_S)
        assert running.returncode == 0, shown()
    logged_in = json.loads(printed)
    assert logged_in["identity"] == ada
    Cluster(str(logged_in["kubeconfig"])).list("v1", "Pod", names.namespace_for(ada))
    # The browser is still logged in, as that of somebody who is sent another person's address.
    with logging_in(environment, tmp_path, "--device") as (running, shown):
        address, _ = code_shown(shown)
        page.goto(address)
        page.get_by_role("heading", name=re.compile("Grant Access")).wait_for()
        assert running.poll() is None, "the address alone logs no other machine in"
        page.locator("#kc-cancel").click()
        printed, _ = running.communicate(timeout=SOON_S)
        assert running.returncode != 0
    assert "refuse" in printed + shown()
    assert "log in again" in printed + shown()


# -- while Keycloak is killed ----------------------------------------------------------------------------------------


def keycloak(cluster):
    found = process_in(cluster.get(Ref("v1", "Pod", f"{KEYCLOAK}-0", names.SYSTEM_NAMESPACE)), KEYCLOAK)
    assert found, "it does not run"
    return found


def serves():
    with suppress(requests.RequestException):
        return requests.get(f"{ISSUER}/.well-known/openid-configuration", verify=AUTHORITY, timeout=5).ok
    return False


def credential(environment):
    """`primage credential`, as kubectl calls it."""
    run = [sys.executable, "-m", "primage", "credential", str(Path(environment["PRIMAGE_HOME"]) / "logins/local/login.json")]
    return subprocess.run(run, env=environment, capture_output=True, text=True, timeout=SOON_S, check=False)


@contextmanager
def killed_keycloak(cluster):
    """Kill it; at the end of the block it serves again."""
    killed = keycloak(cluster)
    os.kill(killed, signal.SIGKILL)
    try:
        until("nobody answers", lambda: not serves(), SOON_S)
        yield
    finally:
        until("it is back", serves, START_S)
    assert keycloak(cluster) != killed


def test_a_keycloak_that_is_killed_costs_nobody_their_access_and_logins_on_their_way_end_well(ada, environment, cluster, tmp_path):
    before = log_in(ada, environment=environment, folder=tmp_path)
    hers, space = Cluster(str(before["kubeconfig"])), names.namespace_for(ada)
    hers.list("v1", "Pod", space)
    elsewhere, third = ({**environment, "PRIMAGE_HOME": str(tmp_path / name)} for name in ("elsewhere", "third"))
    with logging_in(elsewhere, tmp_path) as (running, shown), requests.Session() as visitor:
        address = until("it shows where to log in", lambda: re.search(r"https://\S+/auth\?\S+", shown()), SOON_S)[0]
        visitor.verify, visitor.trust_env = AUTHORITY, False
        begun = visitor.get(f"{URL}/login", timeout=SOON_S, allow_redirects=False).headers["Location"]
        with killed_keycloak(cluster):
            hers.list("v1", "Pod", space)
            with pytest.raises(Refused):
                hers.list("v1", "Pod", names.SYSTEM_NAMESPACE)
            state = parse_qs(urlsplit(begun).query)["state"][0]
            come_back = visitor.get(f"{URL}/login/done", params={"code": "x", "state": state, "iss": ISSUER}, timeout=SOON_S)
            assert come_back.status_code == 503
            assert "try again in a minute" in come_back.text
            run = [sys.executable, "-m", "primage", "login", "local"]
            refused = subprocess.run(run, env=third, cwd=people.ROOT, capture_output=True, text=True, timeout=SOON_S, check=False)
            assert refused.returncode == ExitCode.UNREACHABLE
            assert "cannot be reached" in refused.stdout + refused.stderr
        assert "close this page" in people.answer(address, ada).text, "whose login was on its way logs in now"
        running.communicate(timeout=SOON_S)
        assert running.returncode == 0, shown()
    assert rights_of(cluster, ada), "the authorizer has taken nothing"
    again = credential(environment)
    assert again.returncode == 0, f"a login outlasts a Keycloak that is started again: {again.stderr}"


def test_a_code_is_good_once_and_who_brings_it_again_ends_what_it_gave(ada):
    """As for a stolen one: https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2"""
    done = people.answer(people.login_url(), ada, follow=False)
    code = parse_qs(urlsplit(done.headers["Location"]).query)["code"][0]
    given = {"client_id": "primage-kubectl", "redirect_uri": "http://127.0.0.1:9/callback", "grant_type": "authorization_code"}

    def asked(**more):
        said = requests.post(f"{ISSUER}/protocol/openid-connect/token", data={**given, **more}, verify=AUTHORITY, timeout=SOON_S)
        return said.status_code, said.json()

    assert asked(code=code, code_verifier="w" * 64)[1]["error"] == "invalid_grant", "without what began the login it is nothing"
    done = people.answer(people.login_url(), ada, follow=False)
    code = parse_qs(urlsplit(done.headers["Location"]).query)["code"][0]
    status, tokens = asked(code=code, code_verifier=people.VERIFIER)
    assert status == 200
    assert asked(code=code, code_verifier=people.VERIFIER)[1]["error"] == "invalid_grant"
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert asked(**refresh)[1]["error"] == "invalid_grant"


def rights_of(cluster, identity):
    found = cluster.list("rbac.authorization.k8s.io/v1", "RoleBinding", names.namespace_for(identity))
    return [one for one in found if any(subject["kind"] == "User" for subject in one.get("subjects") or [])]
