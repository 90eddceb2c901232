"""Guacamole as a site declares it, compared with what its manual asks for: its images are not to be had here."""

import pytest
from guacamole_settings import DIGEST, GUACAMOLE
from pydantic import ValidationError

from primage.contract import realm
from primage.contract.guacamole import GuacamoleConfig
from primage.contract.login import LoginConfig
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.projects.project import parse_stack_name

LOGIN = LoginConfig(issuer="https://login.example.org/realms/primage", guacamole=GuacamoleConfig(**GUACAMOLE))


@pytest.fixture(scope="module")
def objects():
    found = EmbeddedEngine().render(parse_stack_name("local"), Options(overrides={"site.login.guacamole": GUACAMOLE}))
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in found if obj["metadata"]["name"] in {"guacamole", "guacd"}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": "guacamole/guacamole:1.6.0"},
        {"guacd_image": "guacamole/guacd"},
        {"url": "http://desktops.example.org"},
        {"machines": []},
        {"ports": [0]},
        {"way_in": {"namespace": "ingress", "labels": {}}},
        {"database": {**GUACAMOLE["database"], "password": "secret"}},
    ],
)
def test_what_is_not_pinned_bounded_or_secret_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        GuacamoleConfig(**{**GUACAMOLE, **wrong})


@pytest.mark.parametrize("name", ["url", "image", "guacd_image", "database", "way_in", "machines"])
def test_nothing_that_only_the_operator_knows_has_a_default(name):
    with pytest.raises(ValidationError, match=name):
        GuacamoleConfig(**{key: value for key, value in GUACAMOLE.items() if key != name})


def test_everybody_is_sent_to_the_identity_provider_and_their_groups_come_back():
    told = LOGIN.guacamole.environment(LOGIN)
    client = realm.guacamole(LOGIN.guacamole)
    assert told["EXTENSION_PRIORITY"] == "openid"
    assert told["OPENID_ISSUER"] == LOGIN.issuer
    assert told["OPENID_AUTHORIZATION_ENDPOINT"] == f"{LOGIN.issuer}/protocol/openid-connect/auth"
    assert (told["OPENID_CLIENT_ID"], [told["OPENID_REDIRECT_URI"]]) == (client["clientId"], client["redirectUris"])
    claims = {mapper["config"]["claim.name"] for mapper in realm.mappers(client["clientId"])}
    assert claims == {told["OPENID_USERNAME_CLAIM_TYPE"], told["OPENID_GROUPS_CLAIM_TYPE"]}
    assert (client["implicitFlowEnabled"], client["standardFlowEnabled"]) == (True, False)
    assert client["redirectUris"] == ["https://desktops.example.org/"]


def test_no_secret_is_in_what_is_declared(objects):
    (container,) = objects["Deployment", "guacamole"]["spec"]["template"]["spec"]["containers"]
    secret = [variable for variable in container["env"] if "valueFrom" in variable]
    assert [(one["name"], one["valueFrom"]["secretKeyRef"]["key"]) for one in secret] == [("POSTGRESQL_PASSWORD", "password")]
    assert ("Secret", "guacamole") not in objects


def test_guacd_is_reached_by_guacamole_alone_and_reaches_the_machines_alone(objects):
    spec = objects["NetworkPolicy", "guacd"]["spec"]
    (entry,) = spec["ingress"]
    assert entry["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "guacamole"}}}]
    machines, _names = spec["egress"]
    assert machines["to"] == [{"ipBlock": {"cidr": "10.30.0.0/24"}}]
    assert [port["port"] for port in machines["ports"]] == [22, 3389, 5900]


def test_guacamole_is_reached_by_what_ends_tls_alone(objects):
    (entry,) = objects["NetworkPolicy", "guacamole"]["spec"]["ingress"]
    (peer,) = entry["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "ingress"}
    assert peer["podSelector"]["matchLabels"] == {"app": "proxy"}
    assert entry["ports"] == [{"port": 8080, "protocol": "TCP"}]


def test_its_pods_have_no_token_and_write_nowhere_but_in_tmp(objects):
    for name in ("guacamole", "guacd"):
        pod = objects["Deployment", name]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == security
        assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]
        assert container["image"].endswith(DIGEST)


def test_it_is_not_below_the_domain_of_peoples_sessions():
    """Whose pages could set its cookies."""
    below = {**GUACAMOLE, "url": "https://desktops.primage.localhost"}
    with pytest.raises((PrimageError, ValidationError), match=r"login\.guacamole\.url: desktops\.primage\.localhost is below"):
        EmbeddedEngine().render(parse_stack_name("local"), Options(overrides={"site.login.guacamole": below}))


def test_a_site_without_it_declares_none():
    declared = {obj["metadata"]["name"] for obj in EmbeddedEngine().render(parse_stack_name("local"), Options())}
    assert {"keycloak", "portal"} <= declared
    assert not {name for name in declared if "guac" in name}
