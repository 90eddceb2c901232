"""What a tenant's namespace admits, as data: the rules of its ValidatingAdmissionPolicies, in CEL.

A rule is an expression that holds for what is admitted. Expressions speak of named variables, which each policy defines;
what a rule says to whom it refuses names what is wrong, why, and what to do. `infra/components/admission.py` makes
Kubernetes' objects of it, and tests/integration/hostile/test_admission.py tries every rule on a standing API server.

Two kinds of policy:
- of pods and of what pods are made from: they hold for everybody, since a tenant's pods are created by controllers;
- of objects: they hold for tenants, who are all that may not change the namespace itself (so an operator is whoever the
  cluster says is one), and not for Kubernetes' own components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from primage.contract import names
from primage.contract.hpc import ANNOTATION_JOB, FINALIZER, MANAGER, PREFIX, backend_object

BACKEND_PREFIX = backend_object("")

KUBERNETES_FINALIZERS = ("foregroundDeletion", "orphan")
"""Those that a tenant's way of deleting puts on an object in a tenant's request."""
CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
"""What Kubernetes' own admission puts on a claim, and takes away again; on anything else nobody would."""


@dataclass(frozen=True)
class Rule:
    """One thing that must hold.

    Attributes:
        holds: CEL expression, true for what is admitted.
        message: what whoever is refused is told.
        says: the same as a CEL expression, where it has values to name.
    """

    holds: str
    message: str
    says: str = ""


@dataclass(frozen=True)
class On:
    """Requests a policy looks at: `resources` of an API group, and what is done to them."""

    group: str
    resources: tuple[str, ...]
    operations: tuple[str, ...] = ("CREATE", "UPDATE")


@dataclass(frozen=True)
class Policy:
    """One ValidatingAdmissionPolicy with its binding.

    Attributes:
        name: without the prefix `primage-`.
        conditions: by name, CEL expressions; the policy ignores a request for which one of them is false.
        variables: by name, CEL expressions; each may use those before it.
    """

    name: str
    on: tuple[On, ...]
    rules: tuple[Rule, ...]
    conditions: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


# -- who asks --------------------------------------------------------------------------------------------------------

OPERATOR = """
request.userInfo.username in ['system:apiserver', 'system:kube-controller-manager', 'system:kube-scheduler']
|| request.userInfo.groups.exists(g, g in ['system:masters', 'system:nodes', 'system:serviceaccounts:kube-system'])
|| authorizer.group('').resource('namespaces').namespace(request.namespace).name(request.namespace).check('update').allowed()
"""
"""Whoever may change the namespace could take its labels away, and the policies with them: nothing is gained by binding them."""

FROM_TENANT = {"from-a-tenant": f"!({OPERATOR.strip()})"}

CONNECTOR = f"""
request.userInfo.username.startsWith('system:serviceaccount:{names.SYSTEM_NAMESPACE}:{names.HPC_CONNECTOR}-')
&& request.userInfo.?extra[?'authentication.kubernetes.io/pod-name'].hasValue()
"""
"""The pod of a VO's connector, which has rights in the namespaces of that VO alone. It and its account are where no tenant has
rights: none of them may make such a token or a pod of that account, impersonate it, or enter the connector's pod."""

LONGEST_GRACE_S = 600
"""Between a pod being told to end and being killed."""

# -- pods, and what they are made from -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """Where in an object a pod's metadata and spec are."""

    name: str
    on: tuple[On, ...]
    metadata: str
    spec: str
    rules: tuple[Rule, ...] = ()


NO_FINALIZERS = "pods have no finalizers but Kubernetes' own; a foreign one would keep them for ever. Leave metadata.finalizers out"

SHAPES = (
    Shape(
        "pods",
        (On("", ("pods",)), On("", ("pods/ephemeralcontainers",), ("UPDATE",))),
        "{object}.metadata",
        "{object}.spec",
    ),
    Shape(
        "pod-templates",
        (
            On("", ("replicationcontrollers",)),
            On("apps", ("deployments", "replicasets", "statefulsets", "daemonsets")),
            On("batch", ("jobs",)),
        ),
        "{object}.spec.template.metadata",
        "{object}.spec.template.spec",
        (
            Rule("object.spec.template.?metadata.?finalizers.orValue([]).size() == 0", NO_FINALIZERS),
            Rule(
                "object.spec.?volumeClaimTemplates.orValue([]).all(c, c.?metadata.?finalizers.orValue([]).size() == 0)",
                "claims have no finalizers but Kubernetes' own. Leave metadata.finalizers out of volumeClaimTemplates",
            ),
            # A controller of the system's makes the claims, and the policies do not bind it.
            Rule(
                "object.spec.?volumeClaimTemplates.orValue([]).all(c, "
                f"!('{names.LABEL_MADE_BY}' in c.?metadata.?labels.orValue({{}})))",
                f"label {names.LABEL_MADE_BY} marks what the site made. Leave it out of volumeClaimTemplates",
            ),
        ),
    ),
    Shape(
        "cron-jobs",
        (On("batch", ("cronjobs",)),),
        "{object}.spec.jobTemplate.spec.template.metadata",
        "{object}.spec.jobTemplate.spec.template.spec",
        (
            Rule("object.spec.jobTemplate.spec.template.?metadata.?finalizers.orValue([]).size() == 0", NO_FINALIZERS),
            Rule(
                f"object.spec.jobTemplate.?metadata.?annotations.orValue({{}}).all(k, !k.startsWith('{PREFIX}'))",
                f"annotations {PREFIX}… of a Job are the HPC connector's. Leave them out of jobTemplate.metadata",
            ),
            Rule(
                f"!('{names.LABEL_MADE_BY}' in object.spec.jobTemplate.?metadata.?labels.orValue({{}}))",
                f"label {names.LABEL_MADE_BY} marks what the site made. Leave it out of jobTemplate.metadata",
            ),
        ),
    ),
)


def _of_every_container(name: str, otherwise: str) -> str:
    """A list with a field of each container's securityContext, whatever kind of container it is."""
    kinds = ("containers", "?initContainers.orValue([])", "?ephemeralContainers.orValue([])")
    each = f"map(c, c.?securityContext.?{name}.orValue({otherwise}))"
    return "\n+ ".join(f"variables.pod.{kind}.{each}" for kind in kinds)


POD_VARIABLES = {
    "volumes": "variables.pod.?volumes.orValue([])",
    "uid": f"int(namespaceObject.metadata.labels[?'{names.LABEL_UID}'].orValue('-2'))",
    "gid": f"int(namespaceObject.metadata.labels[?'{names.LABEL_GID}'].orValue('-2'))",
    "scratch": f"quantity(namespaceObject.metadata.?annotations[?'{names.ANNOTATION_SCRATCH}'].orValue('0'))",
    "podUser": "variables.pod.?securityContext.?runAsUser.orValue(-1)",
    "podGroup": "variables.pod.?securityContext.?runAsGroup.orValue(-1)",
    "users": _of_every_container("runAsUser", "variables.podUser"),
    "groups": _of_every_container("runAsGroup", "variables.podGroup"),
    "account": "variables.pod.?serviceAccountName.orValue('')",
    "token": """
variables.pod.?automountServiceAccountToken.orValue(false)
|| variables.volumes.exists(v, v.?projected.?sources.orValue([]).exists(s, has(s.serviceAccountToken)))
""",
    "operator": OPERATOR,
}
"""After `pod` and `labels`, which are elsewhere in each shape."""

IDENTITY = (
    Rule(
        "variables.users.all(u, u == variables.uid)",
        "pods run as their namespace's own user, who owns its files. Set spec.securityContext.runAsUser to it, and no other one "
        "in any container",
        "'pods here run as user ' + string(variables.uid) + ', who owns the files of this namespace. '"
        " + 'Set spec.securityContext.runAsUser: ' + string(variables.uid) + ', and no other one in any container'",
    ),
    Rule(
        "variables.groups.all(g, g == variables.gid)",
        "pods run in their VO's group. Set spec.securityContext.runAsGroup to it, and no other one in any container",
        "'pods here run in group ' + string(variables.gid) + ', which is the VO. '"
        " + 'Set spec.securityContext.runAsGroup: ' + string(variables.gid) + ', and no other one in any container'",
    ),
    Rule(
        "variables.pod.?securityContext.?fsGroup.orValue(variables.gid) == variables.gid",
        "a pod's volumes belong to its VO's group. Leave spec.securityContext.fsGroup out, or set it to the VO's",
        "'volumes here belong to group ' + string(variables.gid) + ', which is the VO. '"
        " + 'Leave spec.securityContext.fsGroup out, or set it to ' + string(variables.gid)",
    ),
    Rule(
        "variables.pod.?securityContext.?supplementalGroups.orValue([]).all(g, g in [variables.uid, variables.gid])",
        "pods are in the groups of their namespace's user and of its VO alone. Take the others out of supplementalGroups",
        "'pods here are in the groups ' + string(variables.uid) + ' and ' + string(variables.gid)"
        " + ' alone. Take the others out of spec.securityContext.supplementalGroups'",
    ),
)
"""Files on shared volumes know nobody but numbers: who chooses the number is whoever it belongs to."""

RESOURCES = (
    Rule(
        "variables.volumes.filter(v, has(v.emptyDir)).all(v, has(v.emptyDir.sizeLimit)"
        " && quantity(v.emptyDir.sizeLimit).compareTo(variables.scratch) <= 0)",
        "scratch space is on a node that others use too. Give each emptyDir a sizeLimit, up to the namespace's largest "
        f"(annotation {names.ANNOTATION_SCRATCH})",
        "'scratch space is on a node that others use too. Give each emptyDir a sizeLimit of '"
        f" + namespaceObject.metadata.?annotations[?'{names.ANNOTATION_SCRATCH}'].orValue('0') + ' or less'",
    ),
    Rule(
        "request.operation != 'CREATE' || variables.pod.?nodeName.orValue('') == ''",
        "the scheduler chooses the node, by what is free. Use spec.nodeSelector in place of spec.nodeName",
    ),
    Rule(
        "variables.pod.?tolerations.orValue([]).all(t, t.?key.orValue('') != '' && !t.key.startsWith('node-role.kubernetes.io/')"
        " && (!t.key.startsWith('node.kubernetes.io/')"
        " || t.key in ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable']))",
        "nodes are kept free of jobs for a reason. Name the taint each toleration is for with its key, and leave out those of "
        "nodes' roles and of nodes in trouble or being emptied",
    ),
    Rule(
        f"variables.pod.?terminationGracePeriodSeconds.orValue(30) <= {LONGEST_GRACE_S}",
        f"a node that is drained waits for its pods. Set spec.terminationGracePeriodSeconds to {LONGEST_GRACE_S} or less",
    ),
)

ACCESS = (
    Rule(
        f"!('{names.LABEL_API_ACCESS}' in variables.labels) || variables.token",
        f"label {names.LABEL_API_ACCESS} opens the way to the API server, for pods that have a token of it. Leave the label out, "
        "or set automountServiceAccountToken: true",
    ),
    Rule(
        f"!('{names.LABEL_MADE_BY}' in variables.labels)",
        f"label {names.LABEL_MADE_BY} marks what the site made. Leave it out of a pod's labels",
    ),
    # A controller of the system's makes these claims, and the policies do not bind it.
    Rule(
        f"variables.volumes.all(v, !('{names.LABEL_MADE_BY}' in"
        " v.?ephemeral.?volumeClaimTemplate.?metadata.?labels.orValue({})))",
        f"label {names.LABEL_MADE_BY} marks what the site made. Leave it out of ephemeral volumes' claims",
    ),
    Rule(
        f"variables.volumes.all(v, v.?persistentVolumeClaim.?claimName.orValue('') != '{names.CLAIM_DATALAKE}'"
        " || v.persistentVolumeClaim.?readOnly.orValue(false))",
        f"the data lake is read, never written. Set readOnly: true beside claimName: {names.CLAIM_DATALAKE} in spec.volumes",
    ),
)


def pod_policies(priorities: Sequence[str]) -> tuple[Policy, ...]:
    """What a pod may be, said to it and early to what it is made from.

    Args:
        priorities: names of the site's priority classes.
    """
    allowed = ", ".join(f"'{name}'" for name in ("", *priorities))
    priority = Rule(
        f"variables.pod.?priorityClassName.orValue('') in [{allowed}]",
        "others' jobs would give way to a priority that is not the site's. "
        + (f"Use one of {', '.join(priorities)}, or none" if priorities else "Leave priorityClassName out"),
    )
    return tuple(_pods(shape, (*IDENTITY, priority, *RESOURCES, *ACCESS, *shape.rules)) for shape in SHAPES)


def _pods(shape: Shape, rules: tuple[Rule, ...]) -> Policy:
    def of(path: str, which: str) -> str:
        return path.format(object=which)

    spec, metadata = shape.spec, shape.metadata
    above, _, last = metadata.rpartition(".")
    labels = f"{above}.?{last}.?labels"
    return Policy(
        shape.name,
        shape.on,
        rules,
        {
            # What was there before a policy must still be let go of: its finalizers and owners change without its spec.
            "says-something-new": f"request.operation == 'CREATE' || {of(spec, 'object')} != {of(spec, 'oldObject')}"
            f" || {of(labels, 'object')}.orValue({{}}) != {of(labels, 'oldObject')}.orValue({{}})",
            # No pod is made for a job that the connector carries to an HPC centre.
            "becomes-pods": f"object.spec.?managedBy.orValue('') != '{MANAGER}'",
        },
        {"pod": of(spec, "object"), "labels": f"{of(labels, 'object')}.orValue({{}})", **POD_VARIABLES},
    )


# -- objects ---------------------------------------------------------------------------------------------------------


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


def policies(priorities: Sequence[str]) -> tuple[Policy, ...]:
    """All of a site, given its priority classes' names."""
    return (*pod_policies(priorities), SITE_OBJECTS, METADATA, NETWORK_POLICIES, SERVICES, CREDENTIALS, REPORTS, AVAILABILITY)
