"""A site's gateway: its settings, what another controller is given, its certificates, and what is built for it."""

import base64
import re

import pytest
import yaml
from cryptography import x509

from infra.admission.routes import REPLACING, route_policies
from infra.components.gateway import _gateway, rights
from infra.config import SiteConfig
from primage.components import certificates
from primage.components.certificates import RENEWED_DAYS, new_authority
from primage.components.xds_certificates import XdsCertificatesProvider
from primage.contract.egress import TO_NAMES, to_login
from primage.contract.gateway import GatewayConfig
from primage.contract.roles import Access
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.limits import quota
from primage.contract.vo import QuotaConfig, VirtualOrganisationSpec
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.local import gateway as local
from primage.local.toolchain.build import CONTOUR_TOOLS
from primage.projects.project import parse_stack_name

CONTOUR = {"domain": "sessions.example.org", "certificate": "wildcard", "controller": {"kind": "contour"}}
OTHER = {
    **CONTOUR,
    "port": 8443,
    "controller": {"kind": "existing", "class_name": "shared", "namespace": "ways-in", "labels": {"app": "proxy"}},
}


def settings(repository, **login):
    found = yaml.safe_load((repository / "Pulumi.local.yaml").read_text())["config"]["primage:site"]
    return {**found, "login": {**found["login"], **login}}


def test_sessions_are_at_a_host_of_their_tenants_own():
    gateway = GatewayConfig.model_validate(OTHER)
    assert gateway.address("ada-at-x", "book") == "https://ada-at-x.sessions.example.org:8443/book/"
    assert GatewayConfig.model_validate(CONTOUR).origin("vo") == "https://vo.sessions.example.org"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "https://login.sessions.example.org/realms/x", "keycloak": None}, r"login\.issuer: .* is below login\.gateway"),
        ({"issuer": "https://sessions.example.org/realms/x", "keycloak": None}, r"login\.issuer: .* is below login\.gateway"),
        ({"portal": {"url": "https://sessions.example.org", "certificate": "c"}}, r"login\.portal\.url: .* is below"),
    ],
)
def test_no_other_login_is_below_the_domain_of_sessions(repository, change, words):
    with pytest.raises(ValueError, match=words):
        SiteConfig.model_validate(settings(repository, gateway=CONTOUR, **change))
    SiteConfig.model_validate(settings(repository, gateway=CONTOUR))


def test_where_an_issuers_name_leads_has_to_be_said_for_sessions(repository):
    """Or all pods that call themselves sessions would reach every address."""
    named = settings(repository, gateway=CONTOUR, issuer="https://login.example.org/realms/primage", keycloak=None)
    with pytest.raises(ValueError, match=r"login\.networks: is required with login\.gateway"):
        SiteConfig.model_validate(named)
    known = {**named["login"], "networks": ["192.0.2.7/32"]}
    login = SiteConfig.model_validate({**named, "login": known}).login
    (way, names) = to_login(login, "primage-system", login.networks)
    assert way == {"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": [{"protocol": "TCP", "port": 443}]}
    assert names == TO_NAMES


def test_a_gateway_has_to_know_who_is_a_pod(repository):
    given = settings(repository, gateway=CONTOUR)
    with pytest.raises(ValueError, match=r"network\.pods: is required with login\.gateway"):
        SiteConfig.model_validate({**given, "network": {"api_servers": ["10.0.0.1/32"]}})


def rendered(gateway):
    return EmbeddedEngine().render(parse_stack_name("local"), Options(overrides={"site.login.gateway": gateway}))


def test_another_controller_is_given_the_gateway_and_nothing_runs():
    objects = rendered(OTHER)
    made = {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}
    spec = made["Gateway", "gateway"]["spec"]
    assert spec["gatewayClassName"] == "shared"
    assert [(one["hostname"], one["port"]) for one in spec["listeners"]] == [("*.sessions.example.org", 8443)]
    assert spec["listeners"][0]["tls"]["certificateRefs"][0]["name"] == "wildcard"
    assert not {("GatewayClass", "primage"), ("Deployment", "contour"), ("Deployment", "gateway")} & made.keys()
    for access in Access:
        labels = made["ClusterRole", f"primage-routes-{access}"]["metadata"]["labels"]
        assert labels[f"rbac.authorization.k8s.io/aggregate-to-{access}"] == "true"
    for policy in ("routes", "upstreams", "held-by-the-gateway"):
        assert ("ValidatingAdmissionPolicy", f"primage-{policy}") in made


def test_without_a_gateway_no_tenant_opens_a_way_in():
    objects = rendered(None)
    made = {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}
    assert not [kind for kind, _ in made if kind.startswith("Gateway")]
    for policy in ("routes", "upstreams", "held-by-the-gateway"):
        assert ("ValidatingAdmissionPolicy", f"primage-{policy}") not in made
    (rule,) = made["ValidatingAdmissionPolicy", "primage-ways-in"]["spec"]["validations"]
    assert rule["expression"].endswith("in []")


def test_what_contour_holds_of_a_tenants_is_bounded_each_and_in_number():
    (held,) = [policy for policy in route_policies("sessions.example.org") if policy.name == "held-by-the-gateway"]
    hard = quota(Tenant(VirtualOrganisationSpec(name="vo.example.org", gid=20001, quota=QuotaConfig(cpu="4", memory="8Gi"))))
    counted = hard["spec"]["hard"]
    for on in held.on:
        for kind in on.resources:
            assert int(counted[f"count/{kind}{'.' + on.group if on.group else ''}"]) > 0


@pytest.mark.parametrize("path", ["/", "/a", "/a/b.c/~d-e_f/"])
def test_paths_that_sessions_replace_are_admitted(path):
    assert re.search(REPLACING.replace("$", r"\Z"), path)


def test_contours_gateway_is_at_the_port_that_its_service_leads_to():
    assert _gateway(GatewayConfig.model_validate({**CONTOUR, "port": 30445}))["listeners"][0]["port"] == 443


def test_members_have_routes_with_the_roles_they_have():
    found = rights()
    assert found.keys() == {access.value for access in Access}
    assert set(found["view"][0]["verbs"]) == {"get", "list", "watch"}, "who looks changes nothing"
    assert not {"referencegrants", "gateways"} & {name for rules in found.values() for name in rules[0]["resources"]}


def secret(values):
    return {"data": {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}}


def test_the_two_halves_have_certificates_of_one_authority_that_nobody_keeps(monkeypatch):
    provider = XdsCertificatesProvider()
    made = provider.make({})
    assert set(made) == {"ca.crt", "contour.crt", "contour.key", "envoy.crt", "envoy.key"}
    authority = x509.load_pem_x509_certificate(made["ca.crt"].encode())
    for who in ("contour", "envoy"):
        x509.load_pem_x509_certificate(made[f"{who}.crt"].encode()).verify_directly_issued_by(authority)
    assert not provider.outdated(secret(made))
    assert provider.outdated(secret({key: value for key, value in made.items() if key != "envoy.crt"}))
    monkeypatch.setattr(certificates, "DAYS", RENEWED_DAYS - 1)
    assert provider.outdated(secret({**made, "envoy.crt": new_authority("x").issue(["envoy"])["tls.crt"]}))


def test_a_certificate_stands_for_every_host_below_the_domain():
    made = new_authority("here").issue(["*.primage.localhost"])
    names = x509.load_pem_x509_certificate(made["tls.crt"].encode()).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["*.primage.localhost"]


def test_only_a_site_with_a_gateway_builds_one(repository):
    assert local.gateway_of({"login": {"issuer": "https://x/realms/y"}}) is None
    assert local.gateway_of({"login": {"gateway": {"domain": "x"}}}) is None, "the site's program says what is wrong"
    found = local.gateway_of(settings(repository))
    assert found is not None
    assert [tools.title for tools in local.gateway_tools(found)] == ["OAuth2 Proxy", "Contour"]
    assert [tools.title for tools in local.gateway_tools(GatewayConfig.model_validate(OTHER))] == ["OAuth2 Proxy"]


def test_of_the_gateway_api_the_cluster_is_told_what_is_used(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PRIMAGE_CACHE", str(tmp_path))
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path))
    CONTOUR_TOOLS.directory.mkdir(parents=True)
    for file in local.KINDS:
        names = [*local.KINDS[file], "tcproutes", "udproutes"]
        documents = [f"apiVersion: v1\nkind: X\nmetadata:\n  name: {name}.example.org\n" for name in names]
        (CONTOUR_TOOLS.directory / file).write_text("# said first\n---\n" + "\n---\n".join(documents))
    sent = []
    monkeypatch.setattr(local, "run_logged", lambda command, stdin, **_: sent.append((command[2], stdin.decode())))
    local.install_kinds(local.gateway_of(settings(repository)), tmp_path / "log")
    assert [verb for verb, _ in sent] == ["apply", "wait"]
    for _, documents in sent:
        named = {document["metadata"]["name"].partition(".")[0] for document in yaml.safe_load_all(documents)}
        assert named == {name for kinds in local.KINDS.values() for name in kinds}
    local.install_kinds(GatewayConfig.model_validate(OTHER), tmp_path / "log")
    assert len(sent) == 2, "another controller brings its own"
