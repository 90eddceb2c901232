"""What a pod may be, and what pods are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infra.admission.policy import On, Policy, Rule
from infra.admission.who_asks import OPERATOR
from primage.contract import names
from primage.contract.hpc import MANAGER, PREFIX

LONGEST_GRACE_S = 600
"""Between a pod being told to end and being killed."""


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
