"""People of the local site's own identity provider: accounts made by its administrator, and logging in without a browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from hpc_machine import until
from keycloak import KeycloakAdmin, KeycloakOpenIDConnection
from keycloak.exceptions import KeycloakGetError

from primage.clients.cluster import Cluster, Ref
from primage.contract import custom_resources as custom
from primage.contract import names
from primage.contract.names import SYSTEM_NAMESPACE

ROOT = Path(__file__).resolve().parents[2]
SERVER, REALM = "https://10.89.77.11:30443", "primage"
ISSUER = f"{SERVER}/realms/{REALM}"
AUTHORITY = "/var/lib/primage/local/authority/ca.crt"
FOLDERS = Path("/var/lib/primage/local/shared/home")
NOW_S = 60
"""A long time for what takes two seconds where nothing else runs."""
PASSWORD = "correct horse battery staple"
CREDENTIAL = {"type": "password", "value": PASSWORD, "temporary": False}
NAME = {"firstName": "A", "lastName": "B"}
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def administrator(cluster: Cluster, realm: str = REALM) -> KeycloakAdmin:
    """As the operator has it who reads the generated password."""
    secret = cluster.get(Ref("v1", "Secret", "keycloak", SYSTEM_NAMESPACE))
    assert secret
    connection = KeycloakOpenIDConnection(
        server_url=SERVER,
        username="admin",
        password=base64.b64decode(secret["data"]["admin-password"]).decode(),
        user_realm_name="master",
        realm_name=realm,
        verify=AUTHORITY,
    )
    return KeycloakAdmin(connection=connection)


def account(admin: KeycloakAdmin, identity: str, *groups: str) -> str:
    """Make an account in these groups (`/vo.primage.eu/researcher`); its ID."""
    user = {"username": identity, "enabled": True, "credentials": [CREDENTIAL], **NAME}
    made = admin.create_user(user, exist_ok=True)
    for group in groups:
        admin.group_user_add(made, until(f"group {group} is there", partial(_group, admin, group), NOW_S))
    return made


def _group(admin: KeycloakAdmin, path: str) -> str:
    """A group's ID; nothing until the authorizer, which has just begun, has made it."""
    try:
        return str(admin.get_group_by_path(path)["id"])
    except KeycloakGetError:
        return ""


def leave(admin: KeycloakAdmin, user: str, group: str) -> None:
    """Take somebody out of a group."""
    admin.group_user_remove(user, admin.get_group_by_path(group)["id"])


def where(identity: str, vo: str = "vo.primage.eu") -> Ref:
    """The Member that somebody is."""
    return Ref(custom.API_VERSION, custom.MEMBER, names.namespace_for(identity), names.namespace_for(vo))


def member(cluster: Cluster, identity: str, vo: str = "vo.primage.eu") -> dict[str, Any]:
    """What it is; of who is none, nothing."""
    return cluster.get(where(identity, vo)) or {"spec": {}, "status": {}}


def ready(cluster: Cluster, identity: str, vo: str = "vo.primage.eu") -> None:
    """Wait until somebody has all that they should have."""

    def there() -> bool:
        found = member(cluster, identity, vo)
        return bool(found["spec"]) and found.get("status", {}).get("applied") == custom.digest_of(found)

    until(f"{identity} is ready", there, NOW_S)


@contextmanager
def person(admin: KeycloakAdmin, cluster: Cluster, name: str, group: str) -> Iterator[tuple[str, str]]:
    """Somebody in a group whose namespace is ready: identity and account. In the end nothing of theirs is left on the site."""
    identity, vo = f"{name}{secrets.token_hex(4)}@example.org", group.split("/")[1]
    user = account(admin, identity, group)
    try:
        ready(cluster, identity, vo)
        yield identity, user
    finally:
        gone(admin, cluster, identity, user, vo)


def gone(admin: KeycloakAdmin, cluster: Cluster, identity: str, user: str, vo: str = "vo.primage.eu") -> None:
    """Remove somebody, and what they have on the site."""
    admin.delete_user(user)
    until("they have no role any more", lambda: not member(cluster, identity, vo)["spec"].get("roles"), NOW_S)
    cluster.delete(where(identity, vo))
    until("their namespace is gone", lambda: cluster.get(Ref("v1", "Namespace", names.namespace_for(identity))) is None, 120)
    # Files stay, whoever leaves: those of a test's go with it.
    shutil.rmtree(FOLDERS / vo / "private" / identity)


def answer(url: str, identity: str, password: str = PASSWORD, *, follow: bool = True) -> requests.Response:
    """Open a login's page, fill it in, and follow where that leads; the last answer.

    Args:
        follow: False for the answer to the form itself.
    """
    browser = requests.Session()
    page = browser.get(url, timeout=30, verify=AUTHORITY)
    form = re.search(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"', page.text)
    assert form, page.text[:3000]
    given = {"username": identity, "password": password}
    return browser.post(html.unescape(form[1]), data=given, timeout=30, verify=AUTHORITY, allow_redirects=follow)


def log_in(
    identity: str, *, environment: dict[str, str], folder: Path, visit: Callable[[str], None] | None = None
) -> dict[str, object]:
    """`primage login local`, with a person at a browser; what it printed.

    Args:
        visit: what that person does with the address they are shown; None to fill the form in.
    """
    shown = folder / f"login-{identity}"
    with shown.open("w") as stream:
        running = subprocess.Popen(
            [sys.executable, "-m", "primage", "login", "local", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            cwd=ROOT,
        )
    found = until("it shows where to log in", lambda: re.search(r"https://\S+/auth\?\S+", shown.read_text()), 60)
    if visit:
        visit(found[0])
    else:
        done = answer(found[0], identity)
        assert "close this page" in done.text, done.text[:2000]
    printed, _ = running.communicate(timeout=60)
    assert running.returncode == 0, shown.read_text()
    return json.loads(printed)


def login_url(client: str = "primage-kubectl", redirect: str = "http://127.0.0.1:9/callback") -> str:
    """Where a browser is sent to log in by a client."""
    asked = {"client_id": client, "redirect_uri": redirect, "code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    return f"{ISSUER}/protocol/openid-connect/auth?{urlencode({'response_type': 'code', 'scope': 'openid', **asked})}"


def account_token(identity: str) -> str:
    """A token of the same realm that is for the account's own pages."""
    return token_of_client(identity, "account-console", f"{ISSUER}/account/")["access_token"]


def token(identity: str) -> str:
    """What kubectl shows to the API server."""
    return token_of_client(identity, "primage-kubectl", "http://127.0.0.1:9/callback")["id_token"]


def token_of_client(identity: str, client: str, redirect: str) -> dict[str, str]:
    """All tokens that somebody gets by a public client."""
    done = answer(login_url(client, redirect), identity, follow=False)
    code = parse_qs(urlsplit(done.headers["Location"]).query)["code"][0]
    given = {"client_id": client, "redirect_uri": redirect, "code": code, "code_verifier": VERIFIER}
    said = requests.post(
        f"{ISSUER}/protocol/openid-connect/token", data={"grant_type": "authorization_code", **given}, verify=AUTHORITY, timeout=30
    )
    found: dict[str, str] = said.json()
    return found


def master_token(cluster: Cluster) -> str:
    """A token of the server's administrator."""
    admin = administrator(cluster)
    admin.get_realm(REALM)
    return str(admin.connection.token["access_token"])
