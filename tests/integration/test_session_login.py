"""Sessions that open in a browser after a login, on the standing site: who gets in, and who is kept out."""

import socket
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from browsers import DOMAIN, EVIL, PORT, fill_in, fill_in_by_hand, run_cell, write_notebook
from hpc_machine import until
from people import AUTHORITY, ISSUER, administrator, login_url, person, token_of_client

from primage.clients.cluster import Ref
from primage.contract import names
from primage.contract.login import SESSIONS_CLIENT
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.operations.sessions import session_of
from primage.projects.project import parse_stack_name

VO, API = "vo.primage.eu", "https://10.89.77.11:6443"
KUBECONFIG = "/var/lib/primage/local/kubeconfig"
HOME = Path("/var/lib/primage/local/shared/home") / VO
CELL = "import os; print(os.getuid() > 40000, 6 * 7)"
NOT_LATER_S = 120


@pytest.fixture(scope="module")
def names_below_the_domain():
    """As browsers have it: each name below .localhost is this machine."""
    known = socket.getaddrinfo

    def found(host, *more, **named):
        return known("127.0.0.1" if str(host).endswith(f".{DOMAIN}") else host, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", found)
        yield


@pytest.fixture(scope="module")
def people(cluster, names_below_the_domain):
    """An owner and another member of the same VO, with what the administrator needs of them."""
    admin = administrator(cluster)
    with person(admin, cluster, "ada", f"/{VO}/researcher") as ada, person(admin, cluster, "bob", f"/{VO}/researcher") as bob:
        yield admin, ada, bob


def brought_up(app, owner, **settings):
    """A session of somebody's, which goes with their namespace: its address."""
    stack = parse_stack_name(f"{app}/{owner}_{VO}.local--login")
    EmbeddedEngine().up(stack, Options(overrides={app: settings}))
    return session_of(stack, EmbeddedEngine(), Options()).address


@pytest.fixture(scope="module")
def web(people):
    """The owner's folder, shared with the other: its address."""
    _, (ada, _), (bob, _) = people
    (HOME / "private" / ada / "index.html").write_text("<h1>Results</h1>")
    return brought_up("web", ada, folder="HOME/private", share_with=[bob])


@pytest.fixture(scope="module", autouse=True)
def stolen(people, web):
    """The cookie of a login that ends at the identity provider before all tests here: the last asks what it is worth."""
    admin, _, (bob, account) = people
    visitor, answer = by_hand(bob, web)
    assert "Results" in answer.text
    cookies = {cookie.name: cookie.value for cookie in visitor.cookies if cookie.name.startswith("__Host-")}
    assert let_in(web, cookies)
    admin.user_logout(account)
    return cookies


@pytest.fixture(scope="module")
def notebook(people, stolen):
    """The owner's notebook, which is shared with nobody."""
    return brought_up("notebook", people[1][0], image="primage/study-histology:1", memory="1Gi")


def let_in(address, cookies):
    return requests.get(address, cookies=cookies, verify=AUTHORITY, timeout=30, allow_redirects=False).status_code == 200


def by_hand(identity, address):
    """The same without a browser: a session of requests that has gone where the login leads, and the last answer."""
    visitor = requests.Session()
    visitor.verify, visitor.trust_env = AUTHORITY, False
    return visitor, fill_in_by_hand(visitor, visitor.get(address, timeout=30), identity)


@pytest.fixture(scope="module")
def owner(people, notebook):
    """Somebody who may do all in the notebook."""
    visitor, answer = by_hand(people[1][0], notebook)
    assert answer.status_code == 200, answer.text[:500]
    assert answer.url == notebook
    return visitor


def test_the_owner_logs_in_and_runs_a_cell(people, notebook, browser, tmp_path):
    _, (ada, _), _ = people
    saved = HOME / "private" / ada / "trial.ipynb"
    write_notebook(saved, CELL)
    saved.chmod(0o666)
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1200, "height": 700})
    page = context.new_page()
    page.goto(f"{notebook}/trial.ipynb")
    fill_in(page, ada)
    assert run_cell(page) == "True 42"
    page.screenshot(path=tmp_path / "notebook.png")
    (cookie,) = [one for one in context.cookies() if one["name"] == "__Host-notebook-login"]
    assert (cookie["path"], cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == ("/", True, True, "Lax")
    assert not cookie["domain"].startswith(".")
    context.close()


def test_who_has_not_logged_in_is_sent_to_the_identity_provider_and_back_to_this_host_alone(notebook):
    place = urlsplit(notebook)
    answer = requests.get(notebook, verify=AUTHORITY, timeout=30, allow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{ISSUER}/protocol/openid-connect/auth?")
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert asked["redirect_uri"] == [f"https://{place.netloc}/oauth2/notebook-login/callback"]
    assert asked["code_challenge_method"] == ["S256"]
    for redirect in (f"{EVIL}/oauth2/", f"https://{place.netloc}/notebook-login/", f"https://{DOMAIN}:{PORT}/oauth2/"):
        refused = requests.get(login_url(SESSIONS_CLIENT, redirect), verify=AUTHORITY, timeout=30, allow_redirects=False)
        assert refused.status_code == 400, redirect


def test_another_member_is_let_in_where_it_is_shared_and_nowhere_else(people, notebook, web):
    bob, _ = people[2]
    visitor, answer = by_hand(bob, notebook)
    assert answer.status_code == 403
    assert visitor.get(notebook, timeout=30, allow_redirects=False).status_code == 302, "no cookie was given"
    visitor, answer = by_hand(bob, web)
    assert (answer.status_code, "Results" in answer.text) == (200, True)
    assert "script-src 'none'" in answer.headers["Content-Security-Policy"]


def test_pages_of_other_tenants_change_nothing_and_hear_nothing(notebook, owner):
    base = notebook.partition("/lab/")[0]
    # What a form is told by, a page of a sibling host can set for all of the domain: it must not be enough.
    tossed = next(cookie.value for cookie in owner.cookies if cookie.name == "_xsrf")
    assert owner.get(f"{base}/api/kernels", timeout=30).status_code == 200

    def post(origin, **headers):
        return owner.post(f"{base}/api/kernels", json={}, headers={"Origin": origin, **headers}, timeout=60)

    assert post(EVIL, **{"X-XSRFToken": tossed}).status_code in {403, 404}
    assert post(f"https://{urlsplit(base).netloc}").status_code == 403, "nor is coming from the page itself"
    made = post(f"https://{urlsplit(base).netloc}", **{"X-XSRFToken": tossed})
    assert made.status_code == 201
    channels = f"{base}/api/kernels/{made.json()['id']}/channels"

    def listen(origin):
        shake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        given = {**shake, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": origin}
        with owner.get(channels, headers=given, timeout=30, stream=True) as answer:
            return answer.status_code

    assert [listen(origin) for origin in (EVIL, "null", f"https://{urlsplit(base).netloc}")] == [403, 403, 101]


@pytest.mark.parametrize("page", ["start", "sign_in", "sign_out"])
def test_no_page_of_the_login_leads_elsewhere(notebook, owner, page):
    place = urlsplit(notebook)
    for elsewhere in (EVIL, "https://evil.example.org/", "//evil.example.org", "/\\evil.example.org"):
        visitor = requests.Session()
        visitor.verify, visitor.trust_env = AUTHORITY, False
        for cookie in owner.cookies:
            if "KEYCLOAK" in cookie.name:
                visitor.cookies.set_cookie(cookie)
        answer = visitor.get(f"https://{place.netloc}/oauth2/notebook-login/{page}", params={"rd": elsewhere}, timeout=30)
        assert all("evil" not in (urlsplit(one.url).hostname or "") for one in (*answer.history, answer)), answer.history


def test_a_token_of_sessions_opens_nothing_else(people, web):
    ada, place = people[1][0], urlsplit(web)
    tokens = token_of_client(ada, SESSIONS_CLIENT, f"https://{place.netloc}/oauth2/web-login/callback")
    for kind in ("id_token", "access_token"):
        shown = {"Authorization": f"Bearer {tokens[kind]}"}
        assert requests.get(f"{API}/api", headers=shown, verify=f"{KUBECONFIG}.ca.crt", timeout=30).status_code == 401
        own_pages = {**shown, "Accept": "application/json"}
        assert requests.get(f"{ISSUER}/account/", headers=own_pages, verify=AUTHORITY, timeout=30).status_code in {401, 403}
        # Nor does a session take it in place of its own login.
        refused = requests.get(web, headers=shown, verify=AUTHORITY, timeout=30, allow_redirects=False)
        assert refused.status_code == 302


def test_what_opens_it_is_nowhere_that_cells_can_read(cluster, people, notebook):
    space = names.namespace_for(people[1][0])
    secret = cluster.get(Ref("v1", "Secret", "notebook-login", space))
    assert "token" not in secret["data"]
    (pod,) = cluster.list("v1", "Pod", space, labels="app.kubernetes.io/name=notebook")
    ref = Ref("v1", "Pod", pod["metadata"]["name"], space)
    code, said, _ = cluster.execute(ref, ["sh", "-c", "ls -A /var/run/secrets/primage-session /run/login 2>&1; true"])
    assert code == 0
    assert "cookie-secret" not in said
    assert "tls.key" not in said


def test_a_stolen_cookie_is_worth_nothing_soon_after_the_logout(stolen, web):
    until("it is refused", lambda: not let_in(web, stolen), NOT_LATER_S)
    assert not let_in(web, stolen), "not even what the refusal itself has brought"
