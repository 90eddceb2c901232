"""What a tenant's namespace admits: every rule tried both ways by a member with a real token, in server-side dry runs.

The tables are of cells: what the object is changed to, and a piece of what the refusal says (empty for what is admitted).
"""

from __future__ import annotations

import copy
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import create

from primage.clients.cluster import Cluster, Object, Ref, Refused, is_leaving
from primage.contract import names
from primage.contract.pod_security import container_security, pod_security
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.operations import logs
from primage.paths import repository_root
from primage.projects.project import all_projects, parse_stack_name

SPACE, UID, GID = "member1-at-primage-dot-eu", 40001, 20001
IMAGE = "10.89.77.11:5000/primage/base:1"
SHARED = Path("/var/lib/primage/local/shared/home/vo.primage.eu/shared")
OTHER_UID, OTHER_GID = 40002, 20002
HPC_JOB = "hpc.primage.eu/connector"
POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "cell", "namespace": SPACE, "labels": {}},
    "spec": {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": pod_security(UID, GID),
        "containers": [{"name": "c", "image": IMAGE, "command": ["true"], "securityContext": container_security()}],
    },
}


def changed(obj: Object, changes: dict[str, Any]) -> Object:
    """A copy with values set at paths such as `spec.containers.0.image`; None removes."""
    made = copy.deepcopy(obj)
    for path, value in changes.items():
        *above, last = path.split("/")
        at: Any = made
        for part in above:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        if value is None:
            del at[last]
        else:
            at[last] = value
    return made


def job_of(pod: Object) -> Object:
    template = {"metadata": {"labels": pod["metadata"]["labels"]}, "spec": pod["spec"]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _meta(), "spec": {"backoffLimit": 0, "template": template}}


def cron_job_of(pod: Object) -> Object:
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job_of(pod)["spec"]}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": _meta(), "spec": spec}


def deployment_of(pod: Object) -> Object:
    labels = {"app": "cell", **pod["metadata"]["labels"]}
    template = {"metadata": {"labels": labels}, "spec": {**pod["spec"], "restartPolicy": "Always"}}
    spec = {"selector": {"matchLabels": {"app": "cell"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta(), "spec": spec}


def _meta() -> Object:
    return {"name": "cell", "namespace": SPACE}


POD_SECURITY, ONE, INIT = "spec/securityContext", "spec/containers/0/securityContext", "spec/initContainers"
SECOND = {**POD["spec"]["containers"][0], "name": "second"}
TOKEN = [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]
CLAIMED = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
FORGED = {"metadata": {"labels": {"primage.eu/made-by": "site"}}, "spec": CLAIMED}
EPHEMERAL = {"name": "d", "ephemeral": {"volumeClaimTemplate": FORGED}}
LAKE = {"claimName": "datalake"}
PODS: dict[str, tuple[dict[str, Any], str]] = {
    # Users and groups.
    "as the site wants it": ({}, ""),
    "another's uid": ({f"{POD_SECURITY}/runAsUser": OTHER_UID}, "run as user 40001"),
    "no uid: the image's own": ({f"{POD_SECURITY}/runAsUser": None}, "run as user 40001"),
    "uid by the container": ({f"{POD_SECURITY}/runAsUser": None, f"{ONE}/runAsUser": UID}, ""),
    "another's uid by the container": ({f"{ONE}/runAsUser": OTHER_UID}, "run as user 40001"),
    "another's uid by an init container": (
        {INIT: [changed(SECOND, {"securityContext/runAsUser": OTHER_UID})]},
        "run as user 40001",
    ),
    "an init container of one's own": ({INIT: [SECOND]}, ""),
    "another VO's group": ({f"{POD_SECURITY}/runAsGroup": OTHER_GID}, "run in group 20001"),
    "no group: the image's own": ({f"{POD_SECURITY}/runAsGroup": None}, "run in group 20001"),
    "another's group by the container": ({f"{ONE}/runAsGroup": OTHER_UID}, "run in group 20001"),
    "one's own group is no VO's": ({f"{POD_SECURITY}/runAsGroup": UID}, "run in group 20001"),
    "another's fsGroup": ({f"{POD_SECURITY}/fsGroup": OTHER_UID}, "belong to group 20001"),
    "no fsGroup": ({f"{POD_SECURITY}/fsGroup": None}, ""),
    "another member's own group": ({f"{POD_SECURITY}/supplementalGroups": [UID, OTHER_UID]}, "groups 40001 and 20001 alone"),
    "both own groups": ({f"{POD_SECURITY}/supplementalGroups": [UID, GID]}, ""),
    "no groups more": ({f"{POD_SECURITY}/supplementalGroups": None}, ""),
    # Priorities.
    "before the cluster's own nodes' pods": ({"spec/priorityClassName": "system-node-critical"}, "Use one of primage-"),
    "before the cluster's own pods": ({"spec/priorityClassName": "system-cluster-critical"}, "Use one of primage-"),
    "a priority of the site": ({"spec/priorityClassName": "primage-interactive"}, ""),
    # Scratch space.
    "an emptyDir without an end": ({"spec/volumes": [{"name": "e", "emptyDir": {}}]}, "sizeLimit of 20Gi or less"),
    "one in memory without an end": ({"spec/volumes": [{"name": "e", "emptyDir": {"medium": "Memory"}}]}, "sizeLimit of 20Gi"),
    "one that is too large": ({"spec/volumes": [{"name": "e", "emptyDir": {"sizeLimit": "21Gi"}}]}, "sizeLimit of 20Gi or less"),
    "one that fits": ({"spec/volumes": [{"name": "e", "emptyDir": {"sizeLimit": "20Gi", "medium": "Memory"}}]}, ""),
    # The scheduler's business.
    "a node of one's choice": ({"spec/nodeName": "front"}, "Use spec.nodeSelector"),
    "a node by its labels": ({"spec/nodeSelector": {"kubernetes.io/hostname": "worker-1"}}, ""),
    "every taint tolerated": ({"spec/tolerations": [{"operator": "Exists"}]}, "Name the taint"),
    "the control plane's taint tolerated": (
        {"spec/tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]},
        "leave out those of nodes' roles",
    ),
    "a node that is being emptied tolerated": (
        {"spec/tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]},
        "nodes in trouble or being emptied",
    ),
    "a node that is not ready tolerated": (
        {"spec/tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]},
        "",
    ),
    "ten minutes to end": ({"spec/terminationGracePeriodSeconds": 600}, ""),
    "a year to end": ({"spec/terminationGracePeriodSeconds": 31536000}, "a node that is drained waits for its pods"),
    "a GPU's taint tolerated": ({"spec/tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}, ""),
    # Labels that open ways.
    "a way to the API without a token": ({"metadata/labels": {"primage.eu/api-access": "true"}}, "pods that have a token of it"),
    "with one": ({"metadata/labels": {"primage.eu/api-access": "true"}, "spec/automountServiceAccountToken": True}, ""),
    "with a projected one": ({"metadata/labels": {"primage.eu/api-access": "true"}, "spec/volumes": TOKEN}, ""),
    "a label of one's own": ({"metadata/labels": {"app.kubernetes.io/name": "mine"}}, ""),
    "the site's label": ({"metadata/labels": {"primage.eu/made-by": "site"}}, "marks what the site made"),
    "an account of one's own": ({"spec/serviceAccountName": "hostile"}, ""),
    # The data lake.
    "the data lake to write": ({"spec/volumes": [{"name": "d", "persistentVolumeClaim": LAKE}]}, "Set readOnly: true"),
    "the data lake to read": ({"spec/volumes": [{"name": "d", "persistentVolumeClaim": {**LAKE, "readOnly": True}}]}, ""),
    "a claim of one's own that says the site made it": ({"spec/volumes": [EPHEMERAL]}, "of ephemeral volumes' claims"),
    "home to write": ({"spec/volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "home-private"}}]}, ""),
}
FINALIZER = {"finalizers": ["example.org/never"]}
JOB, CRON, DEPLOYMENT = job_of(POD), cron_job_of(POD), deployment_of(POD)
SET = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": _meta(),
    "spec": {
        **DEPLOYMENT["spec"],
        "serviceName": "cell",
        "volumeClaimTemplates": [
            {
                "metadata": {"name": "c"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }
        ],
    },
}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(), "data": {"a": "b"}}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": _meta(),
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": _meta(), "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}


BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": _meta(),
    "spec": {"selector": {"matchLabels": {"a": "b"}}, "minAvailable": "100%"},
}


def autoscaler(kind: str, name: str) -> Object:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _meta(),
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name}, "minReplicas": 2, "maxReplicas": 3},
    }


def policy(**spec: Any) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _meta(),
        "spec": {"podSelector": {}, **spec},
    }


MINE, OTHERS, ANYWHERE = {"podSelector": {}}, {"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.89.77.11/32"}}
OPENS = "opens more than this namespace"
ACCOUNT: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta()}
OBJECTS: dict[str, tuple[Object, str]] = {
    # Finalizers, on the object and in what objects are made from.
    "a config map": (CONFIG, ""),
    "with a finalizer": (changed(CONFIG, {"metadata/finalizers": ["example.org/never"]}), "keeps an object until"),
    "a job with the connector's": (changed(JOB, {"metadata/finalizers": ["hpc.primage.eu/cancel"]}), "keeps an object until"),
    "a claim, which Kubernetes gives one": (CLAIM, ""),
    "a job's pods with one": (changed(JOB, {"spec/template/metadata": FINALIZER}), "pods have no finalizers"),
    "a cron job's pods with one": (
        changed(CRON, {"spec/jobTemplate/spec/template/metadata": FINALIZER}),
        "pods have no finalizers",
    ),
    "a set": (SET, ""),
    "a set's claims with one": (changed(SET, {"spec/volumeClaimTemplates/0/metadata/finalizers": ["x.org/y"]}), "claims have no"),
    "a set's claims that say the site made them": (
        changed(SET, {"spec/volumeClaimTemplates/0/metadata/labels": {"primage.eu/made-by": "site"}}),
        "marks what the site made",
    ),
    # The connector's annotations.
    **{
        f"a job with the connector's note {note}": (
            changed(JOB, {"metadata/annotations": {f"hpc.primage.eu/{note}": "1"}}),
            "the HPC connector's notes",
        )
        for note in ("attempt", "failed", "slurm-job", "backend", "anything")
    },
    "a cron job whose jobs have one": (
        changed(CRON, {"spec/jobTemplate/metadata": {"annotations": {"hpc.primage.eu/attempt": "1"}}}),
        "are the HPC connector's",
    ),
    "a job for the connector": (
        changed(JOB, {"spec/managedBy": HPC_JOB, "spec/template/metadata": {"annotations": {"hpc.primage.eu/job": "script"}}}),
        "",
    ),
    "a cron job": (CRON, ""),
    "a deployment": (DEPLOYMENT, ""),
    # The site's label.
    "a config map with the site's label": (
        changed(CONFIG, {"metadata/labels": {"primage.eu/made-by": "site"}}),
        "marks what the site made",
    ),
    "a cron job whose jobs have it": (
        changed(CRON, {"spec/jobTemplate/metadata": {"labels": {"primage.eu/made-by": "site"}}}),
        "marks what the site made",
    ),
    # Network policies.
    "from one's own pods": (policy(policyTypes=["Ingress"], ingress=[{"from": [MINE]}]), ""),
    "to one's own pods": (policy(policyTypes=["Egress"], egress=[{"to": [MINE], "ports": [{"port": 80}]}]), ""),
    "from nobody": (policy(policyTypes=["Ingress"]), ""),
    "from everywhere": (policy(policyTypes=["Ingress"], ingress=[{}]), OPENS),
    "to everywhere": (policy(policyTypes=["Egress"], egress=[{}]), OPENS),
    "to a port everywhere": (policy(policyTypes=["Egress"], egress=[{"ports": [{"port": 2379}]}]), OPENS),
    "to an empty list, which is everywhere": (policy(policyTypes=["Egress"], egress=[{"to": []}]), OPENS),
    "to a machine": (policy(policyTypes=["Egress"], egress=[{"to": [ANYWHERE]}]), OPENS),
    "to another namespace": (policy(policyTypes=["Egress"], egress=[{"to": [OTHERS]}]), OPENS),
    "to pods of another namespace": (policy(policyTypes=["Egress"], egress=[{"to": [{**MINE, **OTHERS}]}]), OPENS),
    "from another namespace": (policy(policyTypes=["Ingress"], ingress=[{"from": [MINE, OTHERS]}]), OPENS),
    # Services.
    "a service": (SERVICE, ""),
    "a service without a selector": (changed(SERVICE, {"spec/selector": None}), ""),
    "a headless one": (changed(SERVICE, {"spec/clusterIP": "None"}), ""),
    "on every node": (changed(SERVICE, {"spec/type": "NodePort"}), "nothing is opened on nodes"),
    "on a load balancer": (changed(SERVICE, {"spec/type": "LoadBalancer"}), "nothing is opened on nodes"),
    "under another's name": (
        changed(SERVICE, {"spec": {"type": "ExternalName", "externalName": "kubernetes.default.svc"}}),
        "no name leads elsewhere",
    ),
    "at another's address": (changed(SERVICE, {"spec/externalIPs": ["10.89.77.11"]}), "take its traffic"),
    # What outlives its author, or says what nobody has seen.
    "a config map with a claim's finalizer": (
        changed(CONFIG, {"metadata/finalizers": ["kubernetes.io/pvc-protection"]}),
        "a finalizer is a promise",
    ),
    "a token without an end": (
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": {**_meta(), "annotations": {"kubernetes.io/service-account.name": "hpc-connector"}},
        },
        "Ask for one that ends",
    ),
    "an event": (
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": _meta(),
            "involvedObject": {"kind": "Job", "name": "cell", "namespace": SPACE},
            "reason": "Waiting",
            "message": "x" * 1_000_000,
        },
        "said by its controller alone",
    ),
    "a config map for a centre": (changed(CONFIG, {"metadata/name": "backend-new"}), "the HPC centres that operators connect"),
    "a service account": (ACCOUNT, ""),
    "one that names more Secrets than anybody has": (
        changed(ACCOUNT, {"imagePullSecrets": [{"name": f"secret-{number}"} for number in range(21)]}),
        "at most 20 Secrets",
    ),
    "a daemon set": (changed(deployment_of(POD), {"kind": "DaemonSet"}), "stay on nodes that are being emptied"),
    # What keeps nodes from being drained.
    "a disruption budget": (BUDGET, "keep nodes from being drained"),
    "an autoscaler": (autoscaler("Deployment", "mine"), ""),
}


def refusal(cluster: Cluster, obj: Object) -> str:
    """What the API server says against the object; empty when it would take it."""
    try:
        cluster.apply(obj, manager="hostile", dry_run=True)
    except Refused as refused:
        return refused.message
    return ""


def judged(said: str, words: str) -> None:
    assert (words in said) if words else not said, said or "it was admitted"


@pytest.fixture(scope="module")
def hostile(tenant: Any) -> Cluster:
    """A connection with the tenant's own token."""
    return Cluster(tenant.kubeconfig)


@pytest.mark.parametrize("cell", PODS)
def test_a_pod_is_admitted_or_refused_and_told_why(hostile: Cluster, cell: str):
    changes, words = PODS[cell]
    judged(refusal(hostile, changed(POD, changes)), words)


@pytest.mark.parametrize("cell", PODS)
def test_what_makes_pods_is_told_at_once(hostile: Cluster, cell: str):
    changes, words = PODS[cell]
    for made in (job_of, cron_job_of, deployment_of):
        judged(refusal(hostile, made(changed(POD, changes))), words)


@pytest.mark.parametrize("resource", ["cpu", "memory", "ephemeral-storage"])
def test_a_pod_asks_for_something_of_all_that_a_quota_counts(hostile: Cluster, resource: str):
    nothing = {"requests": {resource: "0"}, "limits": {resource: "0"}}
    judged(refusal(hostile, changed(POD, {"spec/containers/0/resources": nothing})), f"minimum {resource} usage per Container is")


@pytest.mark.parametrize("cell", OBJECTS)
def test_an_object_is_admitted_or_refused_and_told_why(hostile: Cluster, cell: str):
    obj, words = OBJECTS[cell]
    judged(refusal(hostile, obj), words)


def test_kubernetes_itself_writes_endpoints(hostile: Cluster):
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {**_meta(), "labels": {"kubernetes.io/service-name": "cell"}},
        "endpoints": [{"addresses": ["10.89.77.11"]}],
        "ports": [{"port": 2379}],
    }
    endpoints = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": _meta(),
        "subsets": [{"addresses": [{"ip": "10.89.77.11"}], "ports": [{"port": 2379}]}],
    }
    for obj in (slice_, endpoints):
        assert "orbidden" in refusal(hostile, obj)


# -- what stands already ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standing(tenant: Any, cluster: Cluster) -> Iterator[dict[str, Object]]:
    """A pod that no node takes, a job that waits, and a config map with a finalizer of the operator's."""
    pod = changed(POD, {"metadata/name": "standing", "spec/nodeSelector": {"primage.eu/nowhere": "true"}})
    job = changed(JOB, {"metadata/name": "standing", "spec/suspend": True})
    kept = changed(CONFIG, {"metadata/name": "standing", "metadata/finalizers": ["example.org/operator"]})
    notes = {"hpc.primage.eu/attempt": "1"}
    try:
        made = {"pod": cluster.apply(pod, manager="test"), "kept": cluster.apply(kept, manager="test")}
        yield {**made, "job": cluster.apply(changed(job, {"metadata/annotations": notes}), manager="test")}
    finally:
        cluster.patch(Ref.of(kept), {"metadata": {"finalizers": None}}, manager="test")
        for obj in (pod, job, kept):
            cluster.delete(Ref.of(obj))


ATTEMPTS: dict[str, tuple[tuple[str, ...], str]] = {
    # The site's own objects.
    "delete a network policy": (("delete", "networkpolicy", "default-deny"), "made this object for every tenant"),
    "delete all of them": (("delete", "networkpolicy", "--all"), "made this object for every tenant"),
    "change one": (
        ("patch", "networkpolicy", "default-deny", "-p", '{"spec":{"podSelector":{"matchLabels":{"a":"b"}}}}'),
        "made this",
    ),
    "take its label away": (("label", "networkpolicy", "default-deny", "primage.eu/made-by-"), "made this object"),
    "send jobs elsewhere": (("patch", "configmap", "backend-hpc", "-p", '{"data":{"ENDPOINT":"evil"}}'), "made this object"),
    "delete a claim": (("delete", "pvc", "home-private"), "made this object"),
    "exchange the connector's credentials": (
        ("patch", "secret", "backend-hpc", "-p", '{"stringData":{"username":"x"}}'),
        "made this object",
    ),
    # Finalizers and notes.
    "take another's finalizer away": (
        ("patch", "configmap", "standing", "-p", '{"metadata":{"finalizers":null}}'),
        "keeps an object until",
    ),
    "set one": (("patch", "job", "standing", "-p", '{"metadata":{"finalizers":["a.org/b"]}}'), "keeps an object until"),
    "write the connector's notes": (
        ("annotate", "job", "standing", "--overwrite", "hpc.primage.eu/attempt=x"),
        "the HPC connector's notes",
    ),
    "wipe them out": (("annotate", "job", "standing", "hpc.primage.eu/attempt-"), "the HPC connector's notes"),
    "write one's own": (("annotate", "job", "standing", "mine=yes"), ""),
    "change a job": (("patch", "job", "standing", "-p", '{"spec":{"parallelism":2}}'), ""),
    "change a config map": (("patch", "configmap", "standing", "-p", '{"data":{"a":"c"}}'), ""),
    "delete a job": (("delete", "job", "standing"), ""),
    # Labels that open ways, given later.
    "open the way to the API": (("label", "pod", "standing", "primage.eu/api-access=true"), "pods that have a token of it"),
    "label a pod": (("label", "pod", "standing", "mine=yes"), ""),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_stands_is_changed_by_whom_it_belongs_to(tenant: Any, standing: dict[str, Object], attempt: str):
    arguments, words = ATTEMPTS[attempt]
    done = tenant.try_to(*arguments, "-n", SPACE, "--dry-run=server")
    judged("" if done.returncode == 0 else done.stderr, words)


@pytest.mark.parametrize(("uid", "words"), [(OTHER_UID, "run as user 40001"), (UID, "")])
def test_a_container_added_to_a_pod_is_its_namespaces_user_too(
    tenant: Any, standing: dict[str, Object], cluster: Cluster, uid: int, words: str
):
    pod = cluster.get(Ref("v1", "Pod", "standing", SPACE))
    assert pod
    added = changed(POD["spec"]["containers"][0], {"name": "added", "securityContext/runAsUser": uid})
    path = f"/api/v1/namespaces/{SPACE}/pods/standing/ephemeralcontainers?dryRun=All"
    body = json.dumps(changed(pod, {"spec/ephemeralContainers": [added]}))
    # Role `edit` may not add containers; whoever may, the operator here, is bound by the same rule.
    done = tenant.try_to("--kubeconfig", tenant.admin, "replace", "--raw", path, "-f", "-", given=body)
    judged("" if done.returncode == 0 else done.stderr, words)


CONNECTOR = names.hpc_connector("vo-dot-primage-dot-eu")
ACCOUNT = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{CONNECTOR}"


def connectors_pod(cluster: Cluster) -> str:
    labels = f"app.kubernetes.io/name={names.HPC_CONNECTOR},app.kubernetes.io/instance=vo-dot-primage-dot-eu"
    (pod, *_) = [pod for pod in cluster.list("v1", "Pod", names.SYSTEM_NAMESPACE, labels=labels) if not is_leaving(pod)]
    return str(pod["metadata"]["name"])


def test_the_connector_is_entered_changed_and_spoken_for_by_nobody_of_the_vo(tenant: Any, cluster: Cluster):
    pod = connectors_pod(cluster)
    tries = [
        ("get", "pods"),
        ("exec", pod, "-c", "home", "--", "true"),
        ("logs", pod, "-c", names.HPC_CONNECTOR),
        ("delete", "pod", pod),
        ("create", "token", CONNECTOR),
        ("set", "image", f"deployment/{CONNECTOR}", f"hpc-connector={IMAGE}"),
        ("scale", f"deployment/{CONNECTOR}", "--replicas=0"),
        ("get", "pods", f"--as={ACCOUNT}"),
    ]
    for attempt in tries:
        said = tenant.try_to("-n", names.SYSTEM_NAMESPACE, *attempt)
        assert "orbidden" in said.stderr, (attempt, said)
    own = tenant.try_to("create", "token", "default", "-n", SPACE)
    assert own.returncode == 0, "other accounts' are the tenant's"


def test_an_account_of_the_connectors_name_is_not_it(tenant: Any, hostile: Cluster, standing: dict[str, Object]):
    """A tenant may have one, impersonate it and give it rights of their own; it says nothing of what became of a job."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": names.HPC_CONNECTOR, "namespace": SPACE}}
    create(hostile, account)
    try:
        for who in (f"system:serviceaccount:{SPACE}:{names.HPC_CONNECTOR}", ACCOUNT):
            change = ("annotate", "job", "standing", "-n", SPACE, "hpc.primage.eu/attempt=7", "--overwrite", f"--as={who}")
            said = tenant.try_to(*change)
            assert said.returncode, who
    finally:
        hostile.delete(Ref.of(account))
    path = f"/apis/batch/v1/namespaces/{SPACE}/jobs/standing/status"
    with pytest.raises(Refused, match='cannot patch resource "jobs/status"'):
        hostile._call("PATCH", path, [("dryRun", "All")], '{"status": {"active": 7}}', "application/merge-patch+json")


def test_the_connector_itself_writes_its_notes(tenant: Any, standing: dict[str, Object], cluster: Cluster, tmp_path: Path):
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={connectors_pod(cluster)}")
    made = tenant.try_to("--kubeconfig", tenant.admin, "create", "token", CONNECTOR, "-n", names.SYSTEM_NAMESPACE, *bound)
    config = json.loads(Path(tenant.kubeconfig).read_text())
    config["users"][0]["user"]["token"] = made.stdout.strip()
    path = tmp_path / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    notes = {"annotations": {"hpc.primage.eu/attempt": "2"}, "finalizers": ["hpc.primage.eu/cancel"]}
    query = [("dryRun", "All")]
    where = f"/apis/batch/v1/namespaces/{SPACE}/jobs/standing"
    done = Cluster(str(path))._call("PATCH", where, query, json.dumps({"metadata": notes}), "application/merge-patch+json")
    assert done["metadata"]["annotations"]["hpc.primage.eu/attempt"] == "2"


def test_the_policies_have_no_mistakes_of_type(site: object, cluster: Cluster):
    found = cluster.list("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy")
    mistakes = {p["metadata"]["name"]: p["status"]["typeChecking"] for p in found if p["metadata"]["name"].startswith("primage-")}
    assert mistakes
    assert not any(mistakes.values()), mistakes


# -- what must go on working -----------------------------------------------------------------------------------------


def rendered(repository: Path) -> Iterator[tuple[str, Object]]:
    """What a member's stack of every app makes, apart from roles, which are no member's to make."""
    for project in all_projects(repository):
        if project.name == "primage":
            continue
        name = f"{project.folder.name}/member1@primage.eu_vo.primage.eu.local--cell"
        more = {"htc.scaling": {"maximum": 3}} if project.folder.name == "htc" else {}
        for obj in EmbeddedEngine().render(parse_stack_name(name), Options(overrides=more)):
            if obj["kind"] not in {"Role", "RoleBinding"}:
                yield name, obj


def test_everything_the_apps_make_is_admitted(hostile: Cluster):
    made = list(rendered(repository_root()))
    assert {obj["kind"] for _, obj in made} >= {"Job", "StatefulSet", "Deployment", "NetworkPolicy", "Service", "ConfigMap"}
    refused = [f"{name}: {Ref.of(obj)}: {said}" for name, obj in made if (said := refusal(hostile, obj))]
    # What Kubernetes then makes of these is admitted too.
    for name, obj in made:
        template = obj.get("spec", {}).get("template")
        if template and obj["spec"].get("managedBy") != HPC_JOB:
            spec = {**template["spec"], "serviceAccountName": "default"}  # the app's own is not there
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template.get("metadata", {}), **_meta()}, "spec": spec}
            refused += [f"{name}: pod of {Ref.of(obj)}: {said}" for said in [refusal(hostile, pod)] if said]
    # Kubernetes asks the quota last: what it says no to has passed the policies.
    assert [said for said in refused if "exceeded quota" not in said] == []


def test_a_reader_of_hpc_output_is_admitted(hostile: Cluster, cluster: Cluster):
    reader = logs._reader(cluster, Ref("batch/v1", "Job", "cell", SPACE))
    assert refusal(hostile, reader) == ""


# -- what was done on an older site ----------------------------------------------------------------------------------


def test_a_member_reads_nobody_elses_file_by_taking_their_uid(tenant: Any, cluster: Cluster):
    theirs = SHARED / "private-letter"
    theirs.write_text("for member2 alone")
    os.chown(theirs, OTHER_UID, GID)
    theirs.chmod(stat.S_IRUSR | stat.S_IWUSR)
    volume = {"name": "shared", "persistentVolumeClaim": {"claimName": "home-shared"}}
    mounted = changed(
        tenant.pod("reader", "cat /shared/private-letter 2>&1 || true"),
        {"spec/volumes": [volume], "spec/containers/0/volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
    )
    stolen = changed(mounted, {"metadata/name": "thief", f"{POD_SECURITY}/runAsUser": OTHER_UID})
    try:
        assert "run as user 40001" in tenant.apply(stolen).stderr
        assert "Permission denied" in tenant.says(mounted)
    finally:
        theirs.unlink()
        cluster.delete(Ref.of(stolen))


def test_a_member_drives_nobody_out(tenant: Any, cluster: Cluster):
    loud = changed(POD, {"metadata/name": "loud", "spec/priorityClassName": "system-node-critical"})
    try:
        assert "Use one of primage-interactive, primage-batch, or none" in tenant.apply(loud).stderr
    finally:
        cluster.delete(Ref.of(loud))
