"""A login's settings, the realm, certificates, and what a browser on this machine is believed."""

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from primage.clients import openid
from primage.components.certificates import authority_in, ends_soon, new_authority
from primage.contract import login, realm
from primage.contract.https import place_of
from primage.contract.login import LoginConfig
from primage.contract.names import USER_PREFIX, cluster_user
from primage.contract.outputs import ClusterConfig
from primage.projects.connection import Connection, connection_of
from primage.projects.logins import login_files

ROOT = Path(__file__).resolve().parents[2]
OWN = {"node_port": 30443, "authority_folder": "/etc/authority", "database": {"kind": "folder", "path": "/srv/keycloak"}}
SETTINGS = LoginConfig.model_validate({"issuer": "https://login.example.org:8443/realms/primage", "keycloak": OWN})


def test_an_issuer_says_where_its_server_is():
    assert (SETTINGS.host, SETTINGS.port, SETTINGS.realm) == ("login.example.org", 8443, "primage")
    assert SETTINGS.server == "https://login.example.org:8443"
    assert LoginConfig(issuer="https://login.example.org/realms/x").port == 443


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://a.example.org", ("a.example.org", 443)),
        ("https://a.example.org:8443", ("a.example.org", 8443)),
        ("https://192.0.2.7:8443/realms/x", ("192.0.2.7", 8443)),
        ("https://a.example.org/b:1", ("a.example.org", 443)),
    ],
)
def test_an_address_leads_to_a_host_and_a_port(url, place):
    assert place_of(url) == place


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "http://login.example.org/realms/x"}, "https://host/realms/name"),
        ({"issuer": "https://login.example.org/realms/x/"}, "no / at the end"),
        ({"issuer": "https://login.example.org"}, "https://host/realms/name"),
        ({"keycloak": {**OWN, "certificate": "own"}}, "exactly one of authority_folder and certificate"),
        ({"keycloak": {**OWN, "authority_folder": ""}}, "exactly one of authority_folder and certificate"),
        ({"keycloak": {**OWN, "database": {"kind": "folder", "path": "relative"}}}, "a whole path"),
        ({"keycloak": {**OWN, "node_port": 443}}, "greater than or equal to 30000"),
        ({"portal": {"url": "https://portal.example.org"}}, "exactly one of authority_folder and certificate"),
        ({"portal": {"url": "https://portal.example.org/", "certificate": "own"}}, "nothing after it"),
        ({"portal": {"url": "http://portal.example.org", "certificate": "own"}}, "https://host"),
    ],
)
def test_settings_that_let_nobody_in_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        LoginConfig.model_validate({"issuer": "https://login.example.org/realms/x", **change})


def test_the_first_import_lets_the_authorizer_in_and_nobody_else():
    said = realm.first_import(SETTINGS)
    assert said["realm"] == "primage"
    assert [client["clientId"] for client in said["clients"]] == [login.AUTHORIZER_CLIENT]
    assert [user["serviceAccountClientId"] for user in said["users"]] == [login.AUTHORIZER_CLIENT]
    assert said["clients"][0]["secret"] == "${PRIMAGE_AUTHORIZER_SECRET}", "no secret is in what is declared"
    assert "realm-admin" not in said["users"][0]["clientRoles"]["realm-management"]


def test_every_client_has_pkce_and_no_password_flow():
    portal = login.PortalConfig(url="https://portal.example.org:8443", certificate="own")
    for client in (realm.command_line(), realm.portal(portal, "password")):
        assert client["attributes"]["pkce.code.challenge.method"] == "S256"
        assert not client["directAccessGrantsEnabled"]
        assert not client["implicitFlowEnabled"]
        assert not client["fullScopeAllowed"]
    assert realm.command_line()["redirectUris"] == ["http://127.0.0.1/callback"]
    assert realm.portal(portal, "password")["redirectUris"] == ["https://portal.example.org:8443/login/done"]
    assert realm.portal(portal, "password")["secret"] == "password"


def test_only_the_portals_tokens_are_for_the_api_server_besides():
    (groups,) = realm.mappers(login.KUBECTL_CLIENT)
    same, audience = realm.mappers(login.PORTAL_CLIENT)
    assert same == groups
    assert audience["config"]["included.client.audience"] == login.KUBECTL_CLIENT


def test_people_change_neither_their_name_nor_their_number():
    may = {item["name"]: item["permissions"]["edit"] for item in realm.profile()["attributes"]}
    assert may["username"] == may["email"] == may[login.UID_ATTRIBUTE] == ["admin"]


def test_the_api_server_believes_what_the_realm_says():
    text = (ROOT / "roles/kubernetes_control_plane/templates/authentication.yaml.j2").read_text()
    said = yaml.safe_load(
        "\n".join(line for line in text.splitlines() if "{" + "%" not in line and "{" + "{" not in line).partition("jwt: []")[0]
    )
    (jwt,) = said["jwt"]
    assert jwt["issuer"]["audiences"] == [login.KUBECTL_CLIENT]
    assert jwt["claimMappings"]["username"] == {"claim": login.IDENTITY_CLAIM, "prefix": USER_PREFIX}
    assert jwt["claimMappings"]["groups"] == {
        "claim": realm.mappers(login.KUBECTL_CLIENT)[0]["config"]["claim.name"],
        "prefix": USER_PREFIX,
    }
    assert cluster_user("ada@example.org") == f"{USER_PREFIX}ada@example.org"


def test_an_authority_is_kept_for_nobody_else_and_issues_for_names_and_addresses(tmp_path):
    new_authority("here").write(tmp_path)
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0
    made = authority_in(tmp_path).issue(["10.1.2.3", "login.example.org"])
    shown = x509.load_pem_x509_certificate(made["tls.crt"].encode())
    alternatives = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one.value) for one in alternatives] == ["10.1.2.3", "login.example.org"]
    shown.verify_directly_issued_by(x509.load_pem_x509_certificate(made["ca.crt"].encode()))
    assert not ends_soon(made["tls.crt"])
    other = tmp_path / "other"
    other.mkdir()
    new_authority("other").write(other)
    (tmp_path / "ca.key").write_text((other / "ca.key").read_text())
    with pytest.raises(ValueError, match="not the key"):
        authority_in(tmp_path)


def get(address):
    try:
        return urllib.request.urlopen(address, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_browser_is_believed_that_brings_the_state_it_was_given_and_only_once():
    with openid._Answer("expected") as answer:
        assert get(f"{answer.address}?code=theirs&state=guessed") == 400
        assert get(f"{answer.address}?code=theirs") == 400
        assert get(f"{answer.address.replace('callback', 'other')}?code=theirs&state=expected") == 400
        assert get(f"{answer.address}?code=ours&state=expected") == 200
        assert get(f"{answer.address}?code=later&state=expected") == 400
        assert answer.wait(5) == "ours"


def test_a_login_that_is_refused_says_why():
    with openid._Answer("expected") as answer:
        threading.Thread(target=get, args=(f"{answer.address}?error=access_denied&state=expected",)).start()
        with pytest.raises(openid.PrimageError, match="access_denied"):
            answer.wait(10)


def test_who_has_the_operators_kubeconfig_is_an_operator_and_who_has_not_is_who_they_logged_in_as(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path))
    monkeypatch.delenv("PRIMAGE_KUBECONFIG", raising=False)
    named = tmp_path / "operators"
    settings = ClusterConfig(kubeconfig=str(named), context="c")
    assert connection_of(settings, "here") == Connection(str(named), "c"), "nobody has logged in"
    files = login_files("here")
    files.folder.mkdir(parents=True)
    files.kubeconfig.write_text(json.dumps({}))
    assert connection_of(settings, "here") == Connection(str(files.kubeconfig), "")
    assert connection_of(settings, "elsewhere") == Connection(str(named), "c")
    named.write_text("")
    assert connection_of(settings, "here") == Connection(str(named), "c")
    monkeypatch.setenv("PRIMAGE_KUBECONFIG", "/given")
    assert connection_of(settings, "here") == Connection("/given", "c")
