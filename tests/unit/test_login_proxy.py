"""The login before a session, as programs declare it on a site with a gateway, and on one without."""

import base64
import json

import pytest
from memory_cluster import MemoryCluster

from primage.components.sessions.session_token import SessionTokenProvider
from primage.contract import login, realm
from primage.contract.custom_resources import made_of
from primage.contract.gateway import COOKIE_SECRET, GatewayConfig
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.projects.project import parse_stack_name

ADA = "notebook/member1@primage.eu_vo.primage.eu.local--trial"
OWN = "notebook/vo.primage.eu.local--trial"
SPACE = "member1-at-primage-dot-eu"
HOST = f"{SPACE}.primage.localhost"
GATEWAY = GatewayConfig(domain="sessions.example.org", certificate="own", controller={"kind": "contour"})


def rendered(stack, **settings):
    """The objects of a session, by kind."""
    found = EmbeddedEngine().render(parse_stack_name(stack), Options(overrides={"notebook.memory": "1Gi", **settings}))
    return {obj["kind"]: obj for obj in found}


def pod(objects):
    return objects["Job"]["spec"]["template"]["spec"]


def options(objects):
    """Of the proxy, each with all values that it is given."""
    (proxy,) = [one for one in pod(objects)["initContainers"] if one["name"] == "login"]
    found = {}
    for argument in proxy["args"]:
        name, _, value = argument.removeprefix("--").partition("=")
        found.setdefault(name, []).append(value)
    return found


def environment(objects):
    return {item["name"]: item.get("value") for item in pod(objects)["containers"][0]["env"]}


@pytest.fixture(scope="module")
def hers():
    return rendered(ADA, **{"notebook.share_with": ["bob@example.org"]})


def test_a_members_session_opens_for_them_and_whom_they_share_it_with(hers):
    assert hers["ConfigMap"]["data"]["visitors"] == "member1@primage.eu\nbob@example.org\n"
    assert options(hers)["authenticated-emails-file"] == ["/run/login/known/visitors"]
    assert options(hers)["oidc-email-claim"] == ["preferred_username"]
    assert not {"allowed-group", "email-domain"} & options(hers).keys()


def test_a_vos_own_opens_for_who_may_run_things_there_or_for_whom_it_names():
    asked = options(rendered(OWN))
    assert asked["allowed-group"] == ["/vo.primage.eu/admin", "/vo.primage.eu/deploy-manager"]
    assert "authenticated-emails-file" not in asked
    named = rendered(OWN, **{"notebook.share_with": ["bob@example.org"]})
    assert named["ConfigMap"]["data"]["visitors"] == "bob@example.org\n"
    assert not {"allowed-group", "email-domain"} & options(named).keys()


def test_the_server_has_no_token_then_and_its_own_name(hers):
    told = environment(hers)
    assert (told["PRIMAGE_BASE_PATH"], told["PRIMAGE_HOST"], told["PRIMAGE_TOKEN_FILE"]) == ("/notebook-trial/", HOST, "")
    mounts = {mount["name"] for mount in pod(hers)["containers"][0]["volumeMounts"]}
    assert not {"login-keys", "login-known", "logins"} & mounts, "whoever runs cells reads neither keys nor logins"


def test_it_comes_by_one_host_two_paths_and_the_gateway_alone(hers):
    route = hers["HTTPRoute"]["spec"]
    assert route["parentRefs"] == [{"name": "gateway", "namespace": "primage-system", "sectionName": "https"}]
    assert route["hostnames"] == [HOST]
    paths = [match["path"]["value"] for rule in route["rules"] for match in rule["matches"]]
    assert paths == ["/notebook-trial", "/oauth2/notebook-trial"]
    assert hers["Service"]["spec"]["ports"][0]["targetPort"] == 4180
    trusted = hers["BackendTLSPolicy"]["spec"]
    assert trusted["targetRefs"][0]["name"] == hers["Service"]["metadata"]["name"]
    assert trusted["validation"]["hostname"] == f"notebook-trial-login.{SPACE}.svc"
    assert hers["Job"]["spec"]["template"]["metadata"]["labels"]["primage.eu/session"] == "true"


def test_cookies_are_of_this_host_alone_and_a_login_is_looked_at_before_its_token_ends(hers):
    asked = options(hers)
    assert asked["cookie-name"] == ["__Host-notebook-trial"]
    assert not {"cookie-domain", "cookie-path", "cookie-secret", "whitelist-domain", "reverse-proxy"} & asked.keys()
    assert int(asked["cookie-refresh"][0].rstrip("s")) < realm.SESSIONS_TOKEN_S
    assert asked["redirect-url"] == [f"https://{HOST}:30445/oauth2/notebook-trial/callback"]


def test_sidecars_do_not_keep_the_job_and_ask_for_little(hers):
    helpers = pod(hers)["initContainers"]
    assert {one["restartPolicy"] for one in helpers} == {"Always"}
    asked = [one["resources"]["requests"]["cpu"] for one in helpers]
    assert sum(int(cpu.removesuffix("m")) for cpu in asked) <= 15


def test_without_a_login_it_has_a_token_as_ever():
    found = rendered(ADA, **{"notebook.login": False})
    assert found.keys() == {"NetworkPolicy", "Job"}
    assert pod(found)["initContainers"] == []
    told = environment(found)
    assert (told["PRIMAGE_HOST"], told["PRIMAGE_TOKEN_FILE"]) == ("localhost", "/var/run/secrets/primage-session/token")


def test_only_identities_are_shared_with():
    for wrong in ("*", "bob", "bob@example.org\n*@example.org", "@example.org", "BOB@example.org"):
        with pytest.raises(PrimageError, match="share_with"):
            rendered(ADA, **{"notebook.share_with": [wrong]})


def test_a_secret_has_a_token_or_keys_that_nobody_else_has(monkeypatch):
    cluster = MemoryCluster()
    monkeypatch.setattr("primage.components.generated_secret.Cluster", lambda *_: cluster)
    place = {"kubeconfig": "", "context": "", "namespace": SPACE, "labels": {"a": "b"}}
    provider = SessionTokenProvider()
    with_login = {**place, "secret": "one", "hosts": ["one-login.x.svc"]}
    made = provider.create(with_login)
    (secret,) = cluster.objects.values()
    assert secret["data"].keys() == {COOKIE_SECRET, "ca.crt", "tls.crt", "tls.key"}
    assert base64.b64decode(secret["data"]["ca.crt"]).decode() == made.outs["authority"]
    known = json.dumps(made.outs)
    assert not [key for key in (COOKIE_SECRET, "tls.key") if base64.b64decode(secret["data"][key]).decode() in known]
    assert not provider.outdated(secret)
    without = {**with_login, "hosts": []}
    assert provider.diff("", {**with_login}, without).replaces == ["hosts"]
    assert provider.make(without).keys() == {"token"}


def test_the_client_sends_browsers_back_to_each_tenants_login_pages_and_nowhere_else():
    client = realm.sessions(GATEWAY, ["b-space", "a-space"])
    assert client["redirectUris"] == [
        "https://a-space.sessions.example.org/oauth2/*",
        "https://b-space.sessions.example.org/oauth2/*",
    ]
    assert client["publicClient"]
    assert client["attributes"]["pkce.code.challenge.method"] == "S256"
    assert not client["fullScopeAllowed"]
    assert client["defaultClientScopes"] == ["basic"], "its tokens have neither names nor addresses of people in them"
    said = {mapper["name"]: mapper for mapper in realm.mappers(login.SESSIONS_CLIENT)}
    assert said.keys() == {"groups", "identity"}
    assert not any("audience" in mapper["protocolMapper"] for mapper in said.values())


def test_the_way_between_gateway_session_and_issuer_is_open_in_each_tenants_namespace():
    site = made_of(EmbeddedEngine().render(parse_stack_name("local"), Options()))
    found = [obj for obj in site if obj["kind"] == "NetworkPolicy" and obj["metadata"]["name"] == "allow-session-login"]
    assert len(found) == len([obj for obj in site if obj["kind"] == "Namespace"])
    spec = found[0]["spec"]
    assert spec["podSelector"]["matchLabels"] == {"primage.eu/session": "true"}
    (rule,) = spec["ingress"]
    assert [port["port"] for port in rule["ports"]] == [4180]
    system = {"matchLabels": {"kubernetes.io/metadata.name": "primage-system"}}
    assert [way["namespaceSelector"] for way in rule["from"]] == [system]
    ways = [
        (way["to"][0].get("ipBlock", {}).get("cidr", "pods"), [port["port"] for port in way["ports"]]) for way in spec["egress"]
    ]
    assert ways == [("10.89.77.11/32", [30443]), ("pods", [8443])]
