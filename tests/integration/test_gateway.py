"""The way in to members' sessions: a member's own route leads to their own host, and nothing that they can write leads further."""

from __future__ import annotations

import base64
import copy
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from browsers import DOMAIN, PORT
from hostile import OTHER_SPACE, SPACE, Tenant, create, kubectl, member
from hpc_machine import until

from infra.admission.routes import LARGEST, LARGEST_AUTHORITY
from infra.components.xds_pod import XDS_PORT
from primage.clients.cluster import Cluster, Object, Ref, Refused
from primage.clients.port_forward import PortForward
from primage.contract import gateway_api, names
from primage.contract.gateway import GATEWAY, PROXY_PORT
from primage.local.site import LocalSite

HOST = f"{SPACE}.{DOMAIN}"
AUTHORITY = "/var/lib/primage/local/authority/ca.crt"
NAME = "gateway-test"
HELLO = f"""
import http.server
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = self.headers["Host"] + self.path
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())
http.server.ThreadingHTTPServer(("", {PROXY_PORT}), Hello).serve_forever()
"""
LABELS = {"app": NAME}
REFUSED_CONNECTION = r"reset|EOF|mismatch"
"""Nobody answers for that host, or in another's name."""
META = {"name": NAME, "namespace": SPACE}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": META,
    "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": PROXY_PORT}]},
}
ROUTE = {
    "apiVersion": gateway_api.ROUTE.api_version,
    "kind": gateway_api.ROUTE.kind,
    "metadata": META,
    "spec": {
        "hostnames": [HOST],
        "parentRefs": [{"name": GATEWAY, "namespace": names.SYSTEM_NAMESPACE, "sectionName": "https"}],
        "rules": [
            {"matches": [{"path": {"type": "PathPrefix", "value": f"/{NAME}"}}], "backendRefs": [{"name": NAME, "port": 80}]}
        ],
    },
}
INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": META,
    "spec": {"defaultBackend": {"service": {"name": NAME, "port": {"number": 80}}}},
}
TLS_POLICY = {
    "apiVersion": gateway_api.UPSTREAM_TLS.api_version,
    "kind": gateway_api.UPSTREAM_TLS.kind,
    "metadata": META,
    "spec": {
        "targetRefs": [{"group": "", "kind": "Service", "name": NAME}],
        "validation": {"hostname": NAME, "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": NAME}]},
    },
}
GRANT = {
    "apiVersion": gateway_api.GRANT.api_version,
    "kind": gateway_api.GRANT.kind,
    "metadata": META,
    "spec": {
        "from": [{"group": gateway_api.GROUP, "kind": gateway_api.ROUTE.kind, "namespace": OTHER_SPACE}],
        "to": [{"group": "", "kind": "Service"}],
    },
}


def route(**spec: Any) -> Object:
    return {**ROUTE, "spec": {**copy.deepcopy(ROUTE["spec"]), **spec}}


def rule(**fields: Any) -> Object:
    return route(rules=[{**copy.deepcopy(ROUTE["spec"]["rules"][0]), **fields}])


def parent(**fields: Any) -> Object:
    return route(parentRefs=[{**ROUTE["spec"]["parentRefs"][0], **fields}])


def rewritten(what: str, **path: str) -> Object:
    filters = {"RequestRedirect": "requestRedirect", "URLRewrite": "urlRewrite"}
    kind = "ReplaceFullPath" if "replaceFullPath" in path else "ReplacePrefixMatch"
    backends = {} if what == "URLRewrite" else {"backendRefs": []}
    return rule(filters=[{"type": what, filters[what]: {"path": {"type": kind, **path}}}], **backends)


def trust(**validation: Any) -> Object:
    spec = copy.deepcopy(TLS_POLICY["spec"])
    return {**TLS_POLICY, "spec": {**spec, "validation": {**spec["validation"], **validation}}}


def held(kind: str, data: Object, **fields: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": META,
        **({"stringData": data} if kind == "Secret" else {"data": data}),
        **fields,
    }


def ask(host: str, path: str = "/", *, header: str = "") -> tuple[int, str]:
    """What a browser of this machine is answered, which takes every name below localhost for the loopback.

    Args:
        header: what the request itself calls the host; as the connection does, unless it is given.

    Raises:
        OSError: the connection is not taken, or whoever takes it does not prove that it is this host.
    """
    context = ssl.create_default_context(cafile=AUTHORITY)
    with socket.create_connection(("127.0.0.1", PORT), timeout=10) as plain:
        connection = http.client.HTTPConnection(host, PORT)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
        connection.request("GET", path, headers={"Host": header} if header else {})
        answer = connection.getresponse()
        try:
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def tenant(site: LocalSite, kubeconfig: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    with member("gateway-member", kubeconfig, tmp_path_factory.mktemp("member")) as found:
        yield found


@pytest.fixture(scope="module")
def served(tenant: Tenant, cluster: Cluster) -> Iterator[None]:
    """A pod, a Service and a route, made by the member; that the gateway may come in, the site says for its own sessions."""
    pod = tenant.pod(NAME, "", labels=LABELS)
    pod["spec"]["containers"][0]["command"] = ["python3", "-c", HELLO]
    comes = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": names.SYSTEM_NAMESPACE}},
        "podSelector": {"matchLabels": {names.LABEL_APP: GATEWAY}},
    }
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": META,
        "spec": {"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress"], "ingress": [{"from": [comes]}]},
    }
    cluster.apply(policy, manager="test")
    made = [pod, SERVICE, ROUTE]
    for obj in made:
        create(tenant.cluster, obj)
    yield
    for obj in [*made, policy]:
        cluster.delete(Ref.of(obj), propagation="Background")


def test_a_members_route_answers_at_their_own_host_and_nowhere_else(served: None):
    def answers() -> bool:
        try:
            return ask(HOST, f"/{NAME}/x")[0] == 200
        except OSError:
            return False

    until("the route answers", answers)
    assert ask(HOST, f"/{NAME}/x") == (200, f"{HOST}:{PORT}/{NAME}/x")
    assert ask(HOST, "/")[0] == 404, "nothing else is below that host"
    assert ask(HOST, f"/{NAME}/x", header=f"{OTHER_SPACE}.{DOMAIN}")[0] == 421, "nor in another's name on the same connection"
    for host in (f"{OTHER_SPACE}.{DOMAIN}", DOMAIN, f"deeper.{HOST}", "gateway.example.org"):
        with pytest.raises(OSError, match=REFUSED_CONNECTION):
            ask(host, f"/{NAME}/x")


def test_an_ingress_takes_no_host_even_if_an_operator_makes_it(served: None, cluster: Cluster):
    """Contour serves a class that nobody has; one with no class at all is nobody's either."""
    spec = {
        "rules": [
            {
                "host": f"taken.{DOMAIN}",
                "http": {
                    "paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": NAME, "port": {"number": 80}}}}]
                },
            }
        ]
    }
    cluster.apply({**INGRESS, "spec": spec}, manager="test")
    try:
        until("the route still answers", lambda: ask(HOST, f"/{NAME}/x")[0] == 200)
        with pytest.raises(OSError, match=REFUSED_CONNECTION):
            ask(f"taken.{DOMAIN}")
    finally:
        cluster.delete(Ref.of(INGRESS))


ADMITTED = {
    "a route": ROUTE,
    "a redirect": rule(filters=[{"type": "RequestRedirect", "requestRedirect": {"statusCode": 302}}], backendRefs=[]),
    "TLS to one's own pods": TLS_POLICY,
    "another path": rewritten("URLRewrite", replacePrefixMatch="/a.b/~c-d_e/1"),
    "a match by a header": rule(matches=[{"headers": [{"name": "x", "value": "y z"}]}]),
    "a Secret as large as may be": held("Secret", {"k": "x" * (LARGEST - 1)}),
    "a certificate's Secret": held("Secret", {"tls.crt": "x" * 9000, "tls.key": "x"}, type="kubernetes.io/tls"),
    "a Secret of another type, however large": held("Secret", {"state": "x" * 900_000}, type="primage.eu/state"),
    "a config map without certificates, however large": held("ConfigMap", {"k": "x" * 900_000}),
    "a config map with certificates": held("ConfigMap", {"ca.crt": "x" * LARGEST_AUTHORITY, "visitors": "x" * 50_000}),
    "a Service": SERVICE,
}
REFUSED: dict[str, tuple[Object, str]] = {
    "another's host": (route(hostnames=[f"{OTHER_SPACE}.{DOMAIN}"]), f"Set spec.hostnames: [{HOST}]"),
    "all hosts": (route(hostnames=[f"*.{DOMAIN}"]), f"[{HOST}]"),
    "no host, which is every one": (route(hostnames=[]), f"[{HOST}]"),
    "a second host": (route(hostnames=[HOST, f"login.{DOMAIN}"]), f"[{HOST}]"),
    "another gateway": (parent(name="other"), "the site's own gateway"),
    "one of one's own": (parent(namespace=SPACE), "the site's own gateway"),
    "a mesh": (route(parentRefs=[{"kind": "Service", "group": "", "name": NAME}]), "the site's own gateway"),
    "nothing above it": (route(parentRefs=[]), "the site's own gateway"),
    "another's pods": (rule(backendRefs=[{"name": NAME, "port": 80, "namespace": OTHER_SPACE}]), "Services of its own namespace"),
    "the site's pods": (rule(backendRefs=[{"name": "keycloak", "port": 8443, "namespace": "primage-system"}]), "own namespace"),
    "what is no service": (rule(backendRefs=[{"name": NAME, "group": "x.org", "kind": "Bucket"}]), "Services of its own"),
    "a copy of requests": (
        rule(filters=[{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": NAME, "port": 80}}}]),
        "Of filters use",
    ),
    "a filter of a backend": (
        rule(
            backendRefs=[
                {
                    "name": NAME,
                    "port": 80,
                    "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": NAME, "port": 80}}}],
                }
            ]
        ),
        "Of filters use",
    ),
    "a pattern": (rule(matches=[{"path": {"type": "RegularExpression", "value": "/(a*)*b"}}]), "PathPrefix or Exact"),
    "a pattern of headers": (
        rule(matches=[{"headers": [{"type": "RegularExpression", "name": "x", "value": ".*"}]}]),
        "PathPrefix or Exact",
    ),
    "many matches": (rule(matches=[{"path": {"type": "Exact", "value": f"/{n}"}} for n in range(9)]), "8 matches"),
    "many headers": (rule(matches=[{"headers": [{"name": f"x{n}", "value": "y"} for n in range(3)]}]), "2 headers"),
    "a large header": (rule(matches=[{"headers": [{"name": "x", "value": "y" * 129}]}]), "128 plain letters"),
    "a large parameter": (rule(matches=[{"queryParams": [{"name": "x", "value": "y" * 129}]}]), "128 plain letters"),
    "a line's end in a header": (rule(matches=[{"headers": [{"name": "x", "value": "y\n"}]}]), "128 plain letters"),
    **{
        f"{kind} by a path with {what}": (rewritten(kind, **{how: path}), "Begin replaceFullPath")
        for kind, how in (("URLRewrite", "replacePrefixMatch"), ("RequestRedirect", "replaceFullPath"))
        for what, path in (("a line's end", "/a\n"), ("a line's end inside", "/a\nb"), ("a pattern", "/\\1"), ("no beginning", "a"))
    },
    "certificates for many": (
        {**TLS_POLICY, "spec": {**TLS_POLICY["spec"], "targetRefs": [{"group": "", "kind": "Service", "name": n} for n in "ab"]}},
        "one Service",
    ),
    "many certificates": (
        trust(caCertificateRefs=[{"group": "", "kind": "ConfigMap", "name": name} for name in "ab"]),
        "to one ConfigMap",
    ),
    "a Secret's certificates": (trust(caCertificateRefs=[{"group": "", "kind": "Secret", "name": "a"}]), "to one ConfigMap"),
    "a system's certificates": (trust(caCertificateRefs=[], wellKnownCACertificates="System"), "to one ConfigMap"),
    "names beside the host": (trust(subjectAltNames=[{"type": "Hostname", "hostname": "a.b"}]), "leave subjectAltNames"),
    "a large Secret": (held("Secret", {"k": "x" * (LARGEST + 1)}), "64 KiB together"),
    "a large certificate's Secret": (
        held("Secret", {"tls.crt": "x" * LARGEST, "tls.key": "x"}, type="kubernetes.io/tls"),
        "64 KiB together",
    ),
    "a Secret of many parts": (held("Secret", {f"k{n}": "x" * 5000 for n in range(14)}), "64 KiB together"),
    "a Secret of names": (held("Secret", {f"{n}-{'x' * 200}": "" for n in range(400)}), "64 KiB together"),
    "large certificates": (held("ConfigMap", {"ca.crt": "x" * (LARGEST_AUTHORITY + 1)}), "Keep it at 8 KiB"),
    "much beside certificates": (held("ConfigMap", {"ca.crt": "", "k": "\u00e9" * 33_000}), "64 KiB together"),
    "bytes beside certificates": (
        held("ConfigMap", {"ca.crt": ""}, binaryData={"k": base64.b64encode(b"x" * 66_000).decode()}),
        "64 KiB together",
    ),
    "a Secret with a large annotation": (held("Secret", {}, metadata={"annotations": {"a": "x" * 66_000}}), "64 KiB together"),
    "a route with a large annotation": ({**ROUTE, "metadata": {"annotations": {"a": "x" * 17_000}}}, "Services and routes at 16"),
    "a Service with many ports": (
        {**SERVICE, "spec": {"selector": LABELS, "ports": [{"name": f"p{n}", "port": 80 + n} for n in range(17)]}},
        "16 ports",
    ),
    "many labels": (held("ConfigMap", {}, metadata={"labels": {f"l{n}": "x" for n in range(65)}}), "64 labels"),
    "an ingress": (INGRESS, f"Make an HTTPRoute for <namespace>.{DOMAIN}"),
    "a class of Contour's": (
        {**INGRESS, "spec": {**INGRESS["spec"], "ingressClassName": "primage-nobody"}},
        "hosts are the site's to give",
    ),
}


def as_cell(obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], **META, "name": "cell"}}


@pytest.mark.parametrize("cell", ADMITTED)
def test_what_sessions_need_is_admitted(tenant: Tenant, cell: str):
    tenant.cluster.apply(as_cell(ADMITTED[cell]), manager="hostile", dry_run=True)


@pytest.mark.parametrize("cell", REFUSED)
def test_what_takes_more_is_refused_and_told_why(tenant: Tenant, cell: str):
    obj, words = REFUSED[cell]
    with pytest.raises(Refused) as refused:
        tenant.cluster.apply(as_cell(obj), manager="hostile", dry_run=True)
    assert words in refused.value.message


def test_a_member_has_no_right_to_other_kinds_of_route(tenant: Tenant):
    for obj in (
        GRANT,
        {**ROUTE, "kind": gateway_api.GATEWAY.kind, "spec": {}},
        {**ROUTE, "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy"},
    ):
        with pytest.raises(Refused) as refused:
            tenant.cluster.apply(obj, manager="hostile", dry_run=True)
        assert refused.value.status == 403


def test_envoy_has_no_token_and_contour_changes_nothing_but_status(site: LocalSite, cluster: Cluster, kubeconfig: str):
    (envoy,) = cluster.list("v1", "Pod", names.SYSTEM_NAMESPACE, labels=f"{names.LABEL_APP}={GATEWAY}")
    mounted = json.dumps([envoy["spec"]["volumes"], envoy["spec"]["containers"]])
    assert "serviceAccountToken" not in mounted
    assert "/var/run/secrets" not in mounted
    whoever = f"--as=system:serviceaccount:{names.SYSTEM_NAMESPACE}:contour"

    def may(verb: str, kind: str, *more: str) -> bool:
        done = kubectl("auth", "can-i", verb, kind, "-n", SPACE, *more, whoever, kubeconfig=kubeconfig)
        return done.stdout.strip() == "yes"

    assert may("update", gateway_api.ROUTE.counted, "--subresource=status")
    for verb, kind in (
        ("create", "pods"),
        ("update", gateway_api.ROUTE.counted),
        ("patch", "secrets"),
        ("get", "nodes"),
    ):
        assert not may(verb, kind), f"{verb} {kind}"


def test_contour_tells_nobody_who_has_no_certificate(site: LocalSite, cluster: Cluster):
    (contour,) = cluster.list("v1", "Pod", names.SYSTEM_NAMESPACE, labels=f"{names.LABEL_APP}=contour")
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with PortForward(cluster, Ref.of(contour), XDS_PORT) as way:
        plain = socket.create_connection(("127.0.0.1", way.port), timeout=10)
        # Of TLS 1.3 the refusal comes after the handshake.
        with anybody.wrap_socket(plain) as tls, pytest.raises(ssl.SSLError, match="certificate required"):
            tls.recv(100)
