"""What other objects of a tenant may be, and who may write them."""

from __future__ import annotations

from infra.admission.policy import On, Policy, Rule
from infra.admission.who_asks import CONNECTOR, FROM_TENANT
from primage.contract import names
from primage.contract.hpc import ANNOTATION_JOB, FINALIZER, PREFIX, backend_object

BACKEND_PREFIX = backend_object("")
MOST_SECRETS = 20
"""That a service account names."""

KUBERNETES_FINALIZERS = ("foregroundDeletion", "orphan")
"""Those that a tenant's way of deleting puts on an object in a tenant's request."""
CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
"""What Kubernetes' own admission puts on a claim, and takes away again; on anything else nobody would."""


def _old_or(path: str, nothing: str) -> str:
    return f"oldObject == null ? {nothing} : oldObject.metadata.?{path}.orValue({nothing})"


def _new_or(path: str, nothing: str) -> str:
    return f"object == null ? {nothing} : object.metadata.?{path}.orValue({nothing})"


SITE_OBJECTS = Policy(
    "site-objects",
    (On("*", ("*", "*/scale"), ("CREATE", "UPDATE", "DELETE")),),
    (
        Rule(
            f"!('{names.LABEL_MADE_BY}' in variables.before)",
            "the site made this object for every tenant alike, and only its operators change or delete it. Ask them, or make one "
            "with another name",
        ),
        Rule(
            f"!('{names.LABEL_MADE_BY}' in variables.after)",
            f"label {names.LABEL_MADE_BY} marks what the site made. Leave it out",
        ),
        Rule(
            "!(request.resource.resource in ['secrets', 'configmaps']) || request.operation != 'CREATE'"
            f" || !object.metadata.?name.orValue('').startsWith('{BACKEND_PREFIX}')",
            f"names that begin with {BACKEND_PREFIX} are for the HPC centres that operators connect. Use another name",
        ),
        # The authorizer reads every namespace's account `default`, all in one.
        Rule(
            "request.resource.resource != 'serviceaccounts' || request.operation == 'DELETE'"
            f" || (object.?imagePullSecrets.orValue([]).size() <= {MOST_SECRETS}"
            f" && object.?secrets.orValue([]).size() <= {MOST_SECRETS})",
            f"a service account names at most {MOST_SECRETS} Secrets of each kind. Name fewer",
        ),
    ),
    FROM_TENANT,
    {"before": _old_or("labels", "{}"), "after": _new_or("labels", "{}")},
)

_ALLOWED = ", ".join(f"'{name}'" for name in KUBERNETES_FINALIZERS)
METADATA = Policy(
    "metadata",
    (On("*", ("*",)),),
    (
        Rule(
            "variables.added.all(f, f in variables.allowed) && variables.removed.all(f, f in variables.allowed)",
            "a finalizer is a promise of whoever set it, and keeps an object until it is kept. Leave metadata.finalizers as it is",
        ),
        Rule(
            "variables.connector"
            f" || (variables.after.all(k, !k.startsWith('{PREFIX}') || k == '{ANNOTATION_JOB}' || variables.before[?k] =="
            " variables.after[?k])"
            f" && variables.before.all(k, !k.startsWith('{PREFIX}') || k == '{ANNOTATION_JOB}' || k in variables.after))",
            f"annotations {PREFIX}… are the HPC connector's notes on its jobs. Leave them as they are",
        ),
    ),
    FROM_TENANT,
    {
        "connector": CONNECTOR,
        "allowed": f"[{_ALLOWED}] + (variables.connector ? ['{FINALIZER}'] : [])"
        f" + (request.resource.resource == 'persistentvolumeclaims' ? ['{CLAIM_FINALIZER}'] : [])",
        "had": _old_or("finalizers", "[]"),
        "has": _new_or("finalizers", "[]"),
        "added": "variables.has.filter(f, !(f in variables.had))",
        "removed": "variables.had.filter(f, !(f in variables.has))",
        "before": _old_or("annotations", "{}"),
        "after": _new_or("annotations", "{}"),
    },
)

NETWORK_POLICIES = Policy(
    "network-policies",
    (On("networking.k8s.io", ("networkpolicies",)),),
    tuple(
        Rule(
            f"object.spec.?{way}.orValue([]).all(r, r.?{peers}.orValue([]).size() > 0"
            f" && r.{peers}.all(p, has(p.podSelector) && !has(p.namespaceSelector) && !has(p.ipBlock)))",
            f"network policies add up, so one that opens more than this namespace would undo the site's. Give every rule under "
            f"{way} a list `{peers}` of podSelectors alone; for networks outside, ask the site's operators (vos.egress)",
        )
        for way, peers in (("ingress", "from"), ("egress", "to"))
    ),
    FROM_TENANT,
)

SERVICES = Policy(
    "services",
    (On("", ("services", "endpoints")), On("discovery.k8s.io", ("endpointslices",))),
    (
        Rule(
            "request.resource.resource == 'services'",
            "Kubernetes writes endpoints, from a Service's selector: by hand they would lead anywhere. Give the Service a selector",
        ),
        Rule(
            "request.resource.resource != 'services' || object.spec.?type.orValue('ClusterIP') == 'ClusterIP'",
            "services are for the pods of this namespace: nothing is opened on nodes, and no name leads elsewhere. Set "
            "spec.type: ClusterIP",
        ),
        Rule(
            "request.resource.resource != 'services' || object.spec.?externalIPs.orValue([]).size() == 0",
            "an external address would take its traffic from whoever has it. Leave spec.externalIPs out",
        ),
    ),
    FROM_TENANT,
)

CREDENTIALS = Policy(
    "credentials",
    (On("", ("secrets",)),),
    (
        Rule(
            "object.?type.orValue('') != 'kubernetes.io/service-account-token'",
            "a token without an end outlives the rights of whoever asked for it. Ask for one that ends: `kubectl create token`",
        ),
    ),
    FROM_TENANT,
)

REPORTS = Policy(
    "reports",
    (
        On("batch", ("jobs/status",), ("UPDATE",)),
        On("", ("events",)),
        On("events.k8s.io", ("events",)),
    ),
    (
        Rule(
            "request.resource.resource != 'jobs' || variables.connector",
            "what became of a job is said by its controller alone",
        ),
        Rule(
            "request.resource.resource != 'events' || variables.connector",
            "what happened to an object is said by its controller alone. Write what your pods have to say to their output",
        ),
    ),
    FROM_TENANT,
    {"connector": CONNECTOR},
)

AVAILABILITY = Policy(
    "availability",
    (
        On("policy", ("poddisruptionbudgets",)),
        On("apps", ("daemonsets",)),
    ),
    (
        Rule(
            "request.resource.resource != 'poddisruptionbudgets'",
            "a disruption budget would keep nodes from being drained; jobs are tried again elsewhere. Leave it out",
        ),
        Rule(
            "request.resource.resource != 'daemonsets'",
            "a DaemonSet's pods stay on nodes that are being emptied. Use a Deployment or a Job",
        ),
    ),
    FROM_TENANT,
)

POLICIES = (SITE_OBJECTS, METADATA, NETWORK_POLICIES, SERVICES, CREDENTIALS, REPORTS, AVAILABILITY)
