"""Tokens that somebody has made up, shown to an API server with the configuration of real sites and an issuer of the test's own."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path

import jinja2
import pytest
import requests
from control_plane import processes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from issuer import fake_issuer
from joserfc import jwt
from joserfc.jwk import RSAKey
from waiting import until

from primage.contract.login import KUBECTL_CLIENT
from primage.local.toolchain.build import KUBERNETES_TOOLS

pytestmark = pytest.mark.apart

TEMPLATE = "roles/kubernetes_control_plane/templates/authentication.yaml.j2"
ADA = "ada@example.org"
KEY = RSAKey.generate_key(2048, {"kid": "1"}, private=True)
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "1"}, private=True)
PUBLIC = KEY.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
HOUR_S = 3600


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    with fake_issuer(tmp_path_factory.mktemp("issuer"), "/realms/primage") as made:
        made.describe(jwks_uri=f"{made.url}/keys")
        made.answers["/realms/primage/keys"] = [(200, {"keys": [KEY.as_dict(private=False, use="sig", alg="RS256")]})]
        yield made


@pytest.fixture(scope="module")
def plane(issuer, repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plane")
    file = folder / "authentication.yaml"
    file.write_text(rendered((repository / TEMPLATE).read_text(), issuer))
    tools = KUBERNETES_TOOLS.build(folder / "build.log", lambda *_: None)
    with processes(tools, folder, f"--authentication-config={file}") as made:
        yield made


def rendered(template, issuer):
    """As Ansible does it."""
    environment = jinja2.Environment()
    environment.filters.update(comment=lambda text: f"# {text}", to_json=json.dumps)
    environment.globals.update(lookup=lambda _, path: Path(path).read_text(), ansible_managed="")
    login = {"issuer": issuer.url, "authority_file": issuer.authority}
    return environment.from_string(template).render(kubernetes_control_plane_login=login)


@pytest.fixture(scope="module")
def asked(plane, issuer):
    """Shows a token to the API server, once it knows the issuer; the answer to a question of whoever that is."""
    place = json.loads(plane.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    authority = str(plane.kubeconfig.with_name("ca.crt"))

    def ask(token, path="/api/v1/namespaces/default/pods"):
        return requests.get(f"{place}{path}", headers={"Authorization": f"Bearer {token}"}, verify=authority, timeout=30)

    until("it has read the issuer's keys", lambda: ask(signed(issuer)).status_code == 403, 60)
    return ask


def claims(issuer, **more):
    now = int(time.time())
    said = {"iss": issuer.url, "aud": KUBECTL_CLIENT, "sub": "1", "exp": now + HOUR_S, "iat": now, "preferred_username": ADA}
    return {key: value for key, value in {**said, "groups": ["/vo.primage.eu"], **more}.items() if value is not None}


def signed(issuer, key=KEY, header=None, **more):
    return jwt.encode({"alg": "RS256", "kid": "1", **(header or {})}, claims(issuer, **more), key)


def part(value):
    return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=").decode()


def by_secret(issuer, secret):
    """Signed with a secret that everybody knows."""
    text = f"{part({'alg': 'HS256', 'kid': '1'})}.{part(claims(issuer))}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def tampered(issuer):
    head, _, signature = signed(issuer).split(".")
    return f"{head}.{part(claims(issuer, preferred_username='member1@primage.eu'))}.{signature}"


def of_own_key(issuer):
    """With the key to check it in the token itself, and an address where it could be had."""
    mine = {"jwk": OTHER_KEY.as_dict(private=False), "jku": "https://evil.example.org/keys", "kid": "2"}
    head = part({"alg": "RS256", **mine})
    return f"{head}.{signed(issuer, OTHER_KEY).partition('.')[2]}"


PAST = int(time.time()) - HOUR_S
REFUSED = {
    "expired": lambda issuer: signed(issuer, exp=PAST),
    "without an end": lambda issuer: signed(issuer, exp=None),
    "not yet valid": lambda issuer: signed(issuer, nbf=int(time.time()) + HOUR_S),
    "for the portal alone": lambda issuer: signed(issuer, aud="primage-portal"),
    "for sessions": lambda issuer: signed(issuer, aud=["primage-sessions", "account"]),
    "for nobody": lambda issuer: signed(issuer, aud=None),
    "of another issuer": lambda issuer: signed(issuer, iss="https://evil.example.org/realms/primage"),
    "of another realm": lambda issuer: signed(issuer, iss=issuer.url.replace("/primage", "/master")),
    "of an issuer with a slash": lambda issuer: signed(issuer, iss=f"{issuer.url}/"),
    "unsigned": lambda issuer: f"{part({'alg': 'none'})}.{part(claims(issuer))}.",
    "unsigned, in capitals": lambda issuer: f"{part({'alg': 'NONE', 'kid': '1'})}.{part(claims(issuer))}.",
    "signed with the public key as a secret": lambda issuer: by_secret(issuer, PUBLIC),
    "signed with it in one line": lambda issuer: by_secret(issuer, PUBLIC.strip()),
    "signed with nothing as a secret": lambda issuer: by_secret(issuer, b""),
    "tampered with": tampered,
    "signed with another key": lambda issuer: signed(issuer, OTHER_KEY),
    "signed with a key that is in it": of_own_key,
    "cut off": lambda issuer: signed(issuer)[:-8],
    "for nobody by name": lambda issuer: signed(issuer, preferred_username=None),
    "for several names": lambda issuer: signed(issuer, preferred_username=[ADA, "root"]),
    "for a number": lambda issuer: signed(issuer, preferred_username=0),
    "with groups that are numbers": lambda issuer: signed(issuer, groups=[7]),
    "with groups that are objects": lambda issuer: signed(issuer, groups={"/vo": "admin"}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_token_that_is_not_the_issuers_word_for_this_is_refused_and_logged(asked, issuer, plane, what):
    log = plane.kubeconfig.with_name("kube-apiserver.log")
    before, token = log.stat().st_size, REFUSED[what](issuer)
    answer = asked(token)
    assert answer.status_code == 401
    assert (answer.json()["reason"], answer.json()["message"]) == ("Unauthorized", "Unauthorized"), "and nothing about why"
    said = until("it is logged", lambda: log.read_bytes()[before:].decode())
    assert "Unable to authenticate the request" in said
    assert token.rpartition(".")[0] not in said


STRANGE = [
    "system:masters",
    "/vo.primage.eu/admin/../x",
    "/vo.primage.eu/../admin",
    "//vo.primage.eu//admin",
    "/vo.primage.eu/admin ",
    "vo dot primage dot eu",
    "/vo.primage.eu/" + 200 * "x",
    "/vo.primage.eu/\N{CYRILLIC SMALL LETTER A}dmin",
    "/vo.primage.eu/admin\n\nsystem:masters",
    "../../cluster-admin",
    "",
]
"""Groups, as an administrator of the provider may call them."""
NAMES = [
    "system:admin",
    "system:serviceaccount:primage-system:authorizer",
    "primage:ada@example.org",
    300 * "a" + "@example.org",
    "\N{CYRILLIC SMALL LETTER A}da@example.org",
    "../ada@example.org",
    "ada@example.org\nadmin",
    "",
]
PLACES = (
    "/api/v1/namespaces/default/pods",
    "/api/v1/nodes",
    "/apis/primage.eu/v1/members",
    "/api/v1/namespaces/kube-system/secrets",
)


@pytest.mark.parametrize("name", [ADA, *NAMES])
def test_names_and_groups_of_the_provider_are_never_kubernetes_own_and_give_nothing(asked, issuer, plane, name):
    token = signed(issuer, preferred_username=name, groups=STRANGE)
    assert [asked(token, path).status_code for path in PLACES] == [403] * len(PLACES)
    who = json.dumps(f"primage:{name}", ensure_ascii=False)
    assert who[1:-1].replace("\\n", "\n") in asked(token).json()["message"].replace("\\n", "\n")
    assert f'"username":{who}' in plane.kubeconfig.with_name("audit.log").read_text()
