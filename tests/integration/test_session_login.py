"""Sessions that open in a browser after a login, on the standing site: who gets in, and who is kept out."""

import json
import re
import socket
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import urllib3.util.connection
from hpc_machine import until
from people import AUTHORITY, ISSUER, PASSWORD, administrator, login_url, person, token_of_client

from primage.clients.cluster import Ref
from primage.contract import names
from primage.contract.login import SESSIONS_CLIENT
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.operations.sessions import session_of
from primage.projects.project import parse_stack_name

VO, API = "vo.primage.eu", "https://10.89.77.11:6443"
DOMAIN, PORT = "primage.localhost", 30445
HOME = Path("/var/lib/primage/local/shared/home") / VO
CELL = "import os; print(os.getuid() > 40000, 6 * 7)"
EVIL = f"https://evil.{DOMAIN}:{PORT}"
"""Another tenant: below the same domain, so that browsers send cookies along that are SameSite."""
NOT_LATER_S = 120


@pytest.fixture(scope="module", autouse=True)
def names_below_the_domain():
    """As browsers have it: each name below .localhost is this machine."""
    with pytest.MonkeyPatch.context() as patch:
        known = socket.getaddrinfo
        patch.setattr(
            socket, "getaddrinfo", lambda host, *more: known("127.0.0.1" if str(host).endswith(f".{DOMAIN}") else host, *more)
        )
        patch.setattr(urllib3.util.connection, "HAS_IPV6", False)
        yield


@pytest.fixture(scope="module")
def people(cluster):
    """An owner and another member of the same VO, with what the administrator needs of them."""
    admin = administrator(cluster)
    with person(admin, cluster, "ada", f"/{VO}/researcher") as ada, person(admin, cluster, "bob", f"/{VO}/researcher") as bob:
        yield admin, ada, bob


@pytest.fixture(scope="module")
def opened(people):
    """The owner's notebook, and a folder that is shared with the other: their addresses."""
    _, (ada, _), (bob, _) = people
    engine, found = EmbeddedEngine(), {}
    notebook, web = {"image": "primage/study-histology:1", "memory": "1Gi"}, {"folder": "HOME/private", "share_with": [bob]}
    settings = {"notebook": {"notebook": notebook}, "web": {"web": web}}
    stacks = {app: parse_stack_name(f"{app}/{ada}_{VO}.local--login") for app in settings}
    (HOME / "private" / ada / "index.html").write_text("<h1>Results</h1>")
    for app, stack in stacks.items():
        engine.up(stack, Options(overrides=settings[app]))
        found[app] = session_of(stack, engine, Options()).address
    yield found
    for stack in stacks.values():
        engine.destroy(stack, Options())


def log_in(page, identity):
    page.fill("#username", identity)
    page.fill("#password", PASSWORD)
    page.click("#kc-login")


def by_hand(identity, address):
    """The same without a browser: a session of requests that has gone where the login leads, and the last answer."""
    visitor = requests.Session()
    visitor.verify, visitor.trust_env = AUTHORITY, False
    page = visitor.get(address, timeout=30)
    form = re.search(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"', page.text)
    assert form, page.text[:500]
    given = {"username": identity, "password": PASSWORD}
    return visitor, visitor.post(form[1].replace("&amp;", "&"), data=given, timeout=30)


@pytest.fixture(scope="module")
def owner(people, opened):
    """Somebody who may do all in the notebook."""
    visitor, answer = by_hand(people[1][0], opened["notebook"])
    assert answer.status_code == 200, answer.text[:500]
    assert answer.url == opened["notebook"]
    return visitor


@pytest.fixture(scope="module")
def stolen(people, opened, owner):
    """The cookie of a login that has just ended at the identity provider."""
    admin, (ada, account), _ = people
    visitor, answer = by_hand(ada, opened["web"])
    assert "Results" in answer.text
    cookies = {cookie.name: cookie.value for cookie in visitor.cookies if cookie.name.startswith("__Host-")}
    return cookies, account, admin


def test_the_owner_logs_in_and_runs_a_cell(people, opened, browser, tmp_path):
    _, (ada, _), _ = people
    cell = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": CELL}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    saved = HOME / "private" / ada / "trial.ipynb"
    saved.write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}))
    saved.chmod(0o666)
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1200, "height": 700})
    page = context.new_page()
    page.goto(f"{opened['notebook']}/trial.ipynb")
    log_in(page, ada)
    page.locator(".jp-Notebook .jp-Cell").first.click(timeout=60_000)
    output = page.locator(".jp-OutputArea-output").first

    def run():
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(1000)
        return output.is_visible()

    until("the cell has run", run)
    assert output.inner_text().strip() == "True 42"
    page.screenshot(path=tmp_path / "notebook.png")
    (cookie,) = [one for one in context.cookies() if one["name"] == "__Host-notebook-login"]
    assert (cookie["path"], cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == ("/", True, True, "Lax")
    assert not cookie["domain"].startswith(".")
    context.close()


def test_who_has_not_logged_in_is_sent_to_the_identity_provider_and_back_to_this_host_alone(opened):
    place = urlsplit(opened["notebook"])
    answer = requests.get(opened["notebook"], verify=AUTHORITY, timeout=30, allow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{ISSUER}/protocol/openid-connect/auth?")
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert asked["redirect_uri"] == [f"https://{place.netloc}/oauth2/notebook-login/callback"]
    assert asked["code_challenge_method"] == ["S256"]
    for redirect in (f"{EVIL}/oauth2/", f"https://{place.netloc}/notebook-login/", f"https://{DOMAIN}:{PORT}/oauth2/"):
        refused = requests.get(login_url(SESSIONS_CLIENT, redirect), verify=AUTHORITY, timeout=30, allow_redirects=False)
        assert refused.status_code == 400, redirect


def test_another_member_is_let_in_where_it_is_shared_and_nowhere_else(people, opened):
    bob, _ = people[2]
    visitor, answer = by_hand(bob, opened["notebook"])
    assert answer.status_code == 403
    assert visitor.get(opened["notebook"], timeout=30, allow_redirects=False).status_code == 302, "no cookie was given"
    visitor, answer = by_hand(bob, opened["web"])
    assert (answer.status_code, "Results" in answer.text) == (200, True)
    assert "script-src 'none'" in answer.headers["Content-Security-Policy"]


def test_pages_of_other_tenants_change_nothing_and_hear_nothing(opened, owner):
    base = opened["notebook"].partition("/lab/")[0]
    cookies = {"_xsrf": "mine"}  # which a page of a sibling host can set for all of the domain
    known = owner.get(f"{base}/api/kernels", timeout=30)
    assert known.status_code == 200

    def post(origin, **headers):
        tossed = {"X-XSRFToken": "mine", **headers}
        return owner.post(f"{base}/api/kernels", json={}, cookies=cookies, headers={"Origin": origin, **tossed}, timeout=60)

    assert post(EVIL).status_code in {403, 404}
    assert owner.post(f"{base}/api/kernels", json={}, headers={"Origin": EVIL}, timeout=30).status_code in {403, 404}
    made = post(f"https://{urlsplit(base).netloc}")
    assert made.status_code == 201
    channels = f"{base}/api/kernels/{made.json()['id']}/channels"

    def listen(origin):
        shake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        given = {**shake, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": origin}
        with owner.get(channels, headers=given, timeout=30, stream=True) as answer:
            return answer.status_code

    assert [listen(origin) for origin in (EVIL, "null", f"https://{urlsplit(base).netloc}")] == [403, 403, 101]


@pytest.mark.parametrize("page", ["start", "sign_in", "sign_out"])
def test_no_page_of_the_login_leads_elsewhere(opened, owner, page):
    place = urlsplit(opened["notebook"])
    for elsewhere in (EVIL, "https://evil.example.org/", "//evil.example.org", "/\\evil.example.org"):
        visitor = requests.Session()
        visitor.verify, visitor.trust_env = AUTHORITY, False
        visitor.cookies.update({cookie.name: cookie.value for cookie in owner.cookies if "KEYCLOAK" in cookie.name})
        answer = visitor.get(f"https://{place.netloc}/oauth2/notebook-login/{page}", params={"rd": elsewhere}, timeout=30)
        assert all("evil" not in (urlsplit(one.url).hostname or "") for one in (*answer.history, answer)), answer.history


def test_a_token_of_sessions_opens_nothing_else(people, opened):
    ada, place = people[1][0], urlsplit(opened["web"])
    tokens = token_of_client(ada, SESSIONS_CLIENT, f"https://{place.netloc}/oauth2/web-login/callback")
    for kind in ("id_token", "access_token"):
        shown = {"Authorization": f"Bearer {tokens[kind]}"}
        assert requests.get(f"{API}/api", headers=shown, verify=False, timeout=30).status_code == 401
        own_pages = {**shown, "Accept": "application/json"}
        assert requests.get(f"{ISSUER}/account/", headers=own_pages, verify=AUTHORITY, timeout=30).status_code in {401, 403}
        # Nor does a session take it in place of its own login.
        refused = requests.get(opened["web"], headers=shown, verify=AUTHORITY, timeout=30, allow_redirects=False)
        assert refused.status_code == 302


def test_a_stolen_cookie_is_worth_nothing_soon_after_the_logout(stolen, opened):
    cookies, account, admin = stolen

    def let_in():
        return requests.get(opened["web"], cookies=cookies, verify=AUTHORITY, timeout=30, allow_redirects=False).status_code == 200

    assert let_in()
    admin.user_logout(account)
    until("it is refused", lambda: not let_in(), NOT_LATER_S)
    assert not let_in()


def test_nothing_that_opens_it_is_in_its_pod_or_log(cluster, people, opened):
    space = names.namespace_for(people[1][0])
    secret = cluster.get(Ref("v1", "Secret", "notebook-login", space))
    assert "token" not in secret["data"]
    (pod,) = cluster.list("v1", "Pod", space, labels="app.kubernetes.io/name=notebook")
    ref = Ref("v1", "Pod", pod["metadata"]["name"], space)
    code, said, _ = cluster.execute(ref, ["sh", "-c", "ls -A /var/run/secrets/primage-session /run/login 2>&1; true"])
    assert code == 0
    assert "cookie-secret" not in said
    assert "tls.key" not in said
