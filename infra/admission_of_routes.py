"""How a tenant's namespace may be reached from outside, as data: rules like those of infra/admission.py.

A tenant's host is its namespace below the site's domain, and every page on it is the tenant's own. What else could take a host, or
speak in the name of another's, is refused. Contour tells Envoy of all tenants' routes in one document, so that a route which Envoy
does not take would keep everybody's from changing: what somebody else's program compiles is refused too.
"""

from __future__ import annotations

from infra.admission import FROM_TENANT, On, Policy, Rule
from primage.contract import names
from primage.contract.gateway import GATEWAY, LISTENER

API = "gateway.networking.k8s.io"
ROUTE, UPSTREAM_TLS = "httproutes", "backendtlspolicies"
OTHER_APIS = ("gateway.networking.x-k8s.io", "projectcontour.io")
FILTERS = ("RequestRedirect", "URLRewrite")
"""Of a route: those with which a page says no more than it could say itself."""
MOST_RULES, MOST_MATCHES, MOST_BACKENDS = 8, 8, 4


def route_policies(domain: str) -> tuple[Policy, ...]:
    """Those of a site.

    Args:
        domain: below which sessions open; empty where the site has no gateway, and nothing opens.
    """
    return (_ways_in(domain), _routes(domain)) if domain else (_ways_in(domain),)


def _ways_in(domain: str) -> Policy:
    """Kinds that would open a way in: of all there are, the two that sessions need."""
    known = [ROUTE, UPSTREAM_TLS] if domain else []
    return Policy(
        "ways-in",
        (On("networking.k8s.io", ("ingresses",)), On(API, ("*",)), *(On(api, ("*",)) for api in OTHER_APIS)),
        (
            Rule(
                f"request.resource.group == '{API}' && request.resource.resource in {known!r}",
                "hosts are the site's to give, and this kind could take another's. "
                + (
                    f"Make an HTTPRoute for <namespace>.{domain} in its place"
                    if domain
                    else "Nothing opens in a browser at this site; use `primage open`"
                ),
            ),
        ),
        FROM_TENANT,
    )


def _routes(domain: str) -> Policy:
    gateway = (
        f"p.name == '{GATEWAY}' && p.?namespace.orValue('') == '{names.SYSTEM_NAMESPACE}'"
        f" && p.?sectionName.orValue('{LISTENER}') == '{LISTENER}' && !has(p.port)"
        f" && p.?kind.orValue('Gateway') == 'Gateway' && p.?group.orValue('{API}') == '{API}'"
    )
    service = (
        "b.?kind.orValue('Service') == 'Service' && b.?group.orValue('') == ''"
        " && b.?namespace.orValue(request.namespace) == request.namespace"
    )
    regular = "?type.orValue('Exact') != 'RegularExpression'"
    return Policy(
        "routes",
        (On(API, (ROUTE,)),),
        (
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
            Rule(
                f"variables.backends.all(b, {service})",
                "a route leads to Services of its own namespace. Leave namespace, kind and group out of backendRefs",
            ),
            Rule(
                f"variables.filters.all(f, f.type in {list(FILTERS)!r})",
                f"a route answers with what its own pods answer. Of filters use {' and '.join(FILTERS)} alone",
            ),
            Rule(
                f"variables.matches.all(m, m.?path.{regular} && m.?headers.orValue([]).all(h, h.{regular})"
                f" && m.?queryParams.orValue([]).all(q, q.{regular}))",
                "patterns of all tenants are compiled by one program. Match by PathPrefix or Exact",
            ),
            Rule(
                f"variables.rules.size() <= {MOST_RULES} && variables.rules.all(r, r.?matches.orValue([]).size() <= {MOST_MATCHES}"
                f" && r.?backendRefs.orValue([]).size() <= {MOST_BACKENDS})",
                f"the gateway is everybody's. Give a route {MOST_RULES} rules at most, with {MOST_MATCHES} matches and "
                f"{MOST_BACKENDS} backendRefs each",
            ),
        ),
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
