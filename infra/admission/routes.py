"""How a tenant's namespace may be reached from outside, as data.

A tenant's host is its namespace below the site's domain, and every page on it is the tenant's own. What else could take a host, or
speak in the name of another's, is refused. Contour tells Envoy of all tenants' routes in one document, so that a route which Envoy
does not take would keep everybody's from changing: what somebody else's program compiles is refused too. And Contour holds in
memory what every tenant has of some kinds, whether a route needs it or not: each is bounded here, and their number by quotas.
"""

from __future__ import annotations

from infra.admission.policy import On, Policy, Rule
from infra.admission.who_asks import FROM_TENANT
from primage.contract import gateway_api, names
from primage.contract.gateway import GATEWAY, LISTENER
from primage.contract.gateway_api import ROUTE, UPSTREAM_TLS

API = gateway_api.GROUP
OTHER_APIS = ("gateway.networking.x-k8s.io", "projectcontour.io")
FILTERS = ("RequestRedirect", "URLRewrite")
"""Of a route: those with which a page says no more than it could say itself."""
MOST_RULES, MOST_MATCHES, MOST_BACKENDS = 8, 8, 4
MOST_FIELDS = 2
"""Of a match: headers, and parameters of a query."""
REPLACING = "^/[A-Za-z0-9._~/-]*$"
"""A path in the place of another one: Envoy takes no line's end, say, in any tenant's."""
LARGEST, LARGEST_AUTHORITY, LONGEST_NOTES = 64 * 1024, 8 * 1024, 16 * 1024
"""Bytes of an object with data that Contour holds whole, of what it holds once more for each port of a Service, and of the
annotations of what has no data."""
MOST_LABELS, MOST_OWNERS, MOST_MANAGERS, MOST_PORTS = 64, 8, 16, 16

_SERVICE = (
    "b.?kind.orValue('Service') == 'Service' && b.?group.orValue('') == ''"
    " && b.?namespace.orValue(request.namespace) == request.namespace"
)
_EXACT = "?type.orValue('Exact') != 'RegularExpression'"
_PLAIN = "value.matches('^[ -~]{1,128}$')"

_WHAT = (
    Rule(
        f"variables.backends.all(b, {_SERVICE})",
        "a route leads to Services of its own namespace. Leave namespace, kind and group out of backendRefs",
    ),
    Rule(
        f"variables.filters.all(f, f.type in {list(FILTERS)!r})",
        f"a route answers with what its own pods answer. Of filters use {' and '.join(FILTERS)} alone",
    ),
)
"""Where to, and what it does on the way."""
_SPELLING = (
    Rule(
        f"variables.matches.all(m, m.?path.{_EXACT} && m.?headers.orValue([]).all(h, h.{_EXACT})"
        f" && m.?queryParams.orValue([]).all(q, q.{_EXACT}))",
        "patterns of all tenants are compiled by one program. Match by PathPrefix or Exact",
    ),
    Rule(
        " && ".join(
            f"variables.matches.all(m, m.?{part}.orValue([]).size() <= {MOST_FIELDS} && m.?{part}.orValue([]).all(v, v.{_PLAIN}))"
            for part in ("headers", "queryParams")
        ),
        f"the gateway is everybody's. Match by {MOST_FIELDS} headers and {MOST_FIELDS} queryParams at most, of 128 plain "
        "letters each",
    ),
    Rule(
        " && ".join(
            f"variables.filters.all(f, f.?{what}.?path.?{how}.orValue('/').matches('{REPLACING}'))"
            for what in ("requestRedirect", "urlRewrite")
            for how in ("replaceFullPath", "replacePrefixMatch")
        ),
        "one path that the gateway does not take would keep all routes from changing. Begin replaceFullPath and "
        "replacePrefixMatch with /, and use letters, digits and . _ ~ - / alone",
    ),
)
"""How what is compared and replaced is spelled: programs of the site's compile it."""
_HOW_MUCH = Rule(
    f"variables.rules.size() <= {MOST_RULES} && variables.rules.all(r, r.?matches.orValue([]).size() <= {MOST_MATCHES}"
    f" && r.?backendRefs.orValue([]).size() <= {MOST_BACKENDS})",
    f"the gateway is everybody's. Give a route {MOST_RULES} rules at most, with {MOST_MATCHES} matches and "
    f"{MOST_BACKENDS} backendRefs each",
)


def route_policies(domain: str) -> tuple[Policy, ...]:
    """Those of a site.

    Args:
        domain: below which sessions open; empty where the site has no gateway, and nothing opens.
    """
    return (_ways_in(domain), _routes(domain), UPSTREAMS, HELD) if domain else (_ways_in(domain),)


def _ways_in(domain: str) -> Policy:
    """Kinds that would open a way in: of all there are, the two that sessions need."""
    known = [kind.resources for kind in gateway_api.OF_MEMBERS] if domain else []
    return Policy(
        "ways-in",
        (On("networking.k8s.io", ("ingresses",)), On(API, ("*",)), *(On(api, ("*",)) for api in OTHER_APIS)),
        (
            Rule(
                f"request.resource.group == '{API}' && request.resource.resource in {known!r}",
                "hosts are the site's to give, and this kind could take another's. "
                + (
                    f"Make an {ROUTE.kind} for <namespace>.{domain} in its place"
                    if domain
                    else "Nothing opens in a browser at this site; use `primage open`"
                ),
            ),
        ),
        FROM_TENANT,
    )


def _routes(domain: str) -> Policy:
    return Policy(
        "routes",
        (On(API, (ROUTE.resources,)),),
        (*_where(domain), *_WHAT, *_SPELLING, _HOW_MUCH),
        FROM_TENANT,
        {
            "host": f"request.namespace + '.{domain}'",
            "rules": "object.spec.?rules.orValue([])",
            "matches": "variables.rules.map(r, r.?matches.orValue([])).flatten()",
            "backends": "variables.rules.map(r, r.?backendRefs.orValue([])).flatten()",
            "filters": "(variables.rules.map(r, r.?filters.orValue([]))"
            " + variables.backends.map(b, b.?filters.orValue([]))).flatten()",
        },
    )


def _where(domain: str) -> tuple[Rule, ...]:
    """From which host, and by which gateway, a route leads."""
    gateway = (
        f"p.name == '{GATEWAY}' && p.?namespace.orValue('') == '{names.SYSTEM_NAMESPACE}'"
        f" && p.?sectionName.orValue('{LISTENER}') == '{LISTENER}' && !has(p.port)"
        f" && p.?kind.orValue('{gateway_api.GATEWAY.kind}') == '{gateway_api.GATEWAY.kind}' && p.?group.orValue('{API}') == '{API}'"
    )
    return (
        Rule(
            "object.spec.?hostnames.orValue([]) == [variables.host]",
            f"a namespace has one host, its own name below {domain}. Set spec.hostnames to that host alone",
            "'this namespace has one host. Set spec.hostnames: [' + variables.host + ']'",
        ),
        Rule(
            f"object.spec.?parentRefs.orValue([]).size() == 1 && object.spec.parentRefs.all(p, {gateway})",
            f"sessions open through the site's own gateway. Set spec.parentRefs to one: name {GATEWAY}, namespace "
            f"{names.SYSTEM_NAMESPACE}, sectionName {LISTENER}",
        ),
    )


UPSTREAMS = Policy(
    "upstreams",
    (On(API, (UPSTREAM_TLS.resources,)),),
    (
        Rule(
            "object.spec.targetRefs.size() == 1 && object.spec.targetRefs.all(t, t.kind == 'Service' && t.group == '')",
            "the gateway is everybody's. Set spec.targetRefs to one Service, and make a BackendTLSPolicy for each",
        ),
        Rule(
            "variables.authorities.size() == 1 && variables.authorities.all(c, c.kind == 'ConfigMap' && c.group == '')"
            " && !has(object.spec.validation.wellKnownCACertificates)",
            "the gateway holds a copy of the certificates for each Service. Set spec.validation.caCertificateRefs to one "
            "ConfigMap, and leave wellKnownCACertificates out",
        ),
        Rule(
            "object.spec.validation.hostname.size() <= 253 && object.spec.validation.?subjectAltNames.orValue([]).size() == 0"
            " && object.spec.?options.orValue({}).size() == 0",
            "the gateway is everybody's. Give spec.validation a hostname of 253 letters at most, and leave subjectAltNames and "
            "options out",
        ),
    ),
    FROM_TENANT,
    {"authorities": "object.spec.validation.?caCertificateRefs.orValue([])"},
)


def _bytes(where: str, size: str) -> str:
    """How many an object's map has, of names and values."""
    each = f"variables.whole.{where}.orValue({{}})"
    return f"{each}.map(k, k.size() + {size.format(value=f'{each}[k]')}).sum()"


HELD = Policy(
    "held-by-the-gateway",
    (On("", ("secrets", "configmaps", "services")), On(API, (ROUTE.resources, UPSTREAM_TLS.resources))),
    (
        Rule(
            f"variables.whole.metadata.?labels.orValue({{}}).size() <= {MOST_LABELS}"
            f" && variables.whole.metadata.?ownerReferences.orValue([]).size() <= {MOST_OWNERS}"
            f" && variables.whole.metadata.?managedFields.orValue([]).size() <= {MOST_MANAGERS}",
            f"the gateway holds this kind in memory. Give an object {MOST_LABELS} labels and {MOST_OWNERS} ownerReferences at "
            f"most, and write it as {MOST_MANAGERS} field managers at most",
        ),
        Rule(
            f"!variables.kept || variables.data + variables.annotations <= (variables.filled ? {LARGEST} : {LONGEST_NOTES})",
            "the gateway holds Secrets of type Opaque and kubernetes.io/tls, config maps with a key ca.crt, Services and routes "
            f"in memory. Keep data and annotations of one at {LARGEST // 1024} KiB together, of Services and routes at "
            f"{LONGEST_NOTES // 1024}: put large data into files, and use `kubectl create` or `kubectl apply --server-side`, which "
            "keep no second copy in an annotation",
        ),
        Rule(
            "request.resource.resource != 'configmaps' || bytes(variables.whole.?data[?'ca.crt'].orValue('')).size() <= "
            f"{LARGEST_AUTHORITY}",
            f"the gateway holds a copy of a config map's ca.crt for each Service. Keep it at {LARGEST_AUTHORITY // 1024} KiB, or "
            "give the key another name where it is not for the gateway",
        ),
        Rule(
            "request.resource.resource != 'services' || (variables.whole.spec.?ports.orValue([]).size() <= "
            f"{MOST_PORTS} && variables.whole.spec.?selector.orValue({{}}).size() <= {MOST_LABELS})",
            f"the gateway holds Services in memory. Give one {MOST_PORTS} ports at most, and {MOST_LABELS} labels in its selector",
        ),
    ),
    FROM_TENANT,
    {
        "filled": "request.resource.resource in ['secrets', 'configmaps']",
        # Kinds of so many shapes have no type in common.
        "whole": "dyn(object)",
        "kept": "request.resource.resource == 'secrets'"
        " ? variables.whole.?type.orValue('Opaque') in ['Opaque', 'kubernetes.io/tls']"
        " : request.resource.resource == 'configmaps' ? 'ca.crt' in variables.whole.?data.orValue({}) : true",
        # A Secret's values are written in base64.
        "data": f"request.resource.resource == 'secrets' ? {_bytes('?data', '{value}.size() * 3 / 4')}"
        f" : request.resource.resource == 'configmaps' ? {_bytes('?data', 'bytes({value}).size()')}"
        f" + {_bytes('?binaryData', '{value}.size() * 3 / 4')} : 0",
        "annotations": _bytes("metadata.?annotations", "bytes({value}).size()"),
    },
)
"""What Contour keeps of tenants' objects; of other Secrets and config maps it drops all but names and labels.
https://github.com/projectcontour/contour/blob/v1.33.8/cmd/contour/serve.go"""
