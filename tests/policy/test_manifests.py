"""Rules every object of every program keeps, checked on what the programs render."""

import pytest

from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.engine import Options
from primage.paths import repository_root
from primage.stack import all_projects, parse_stack_name


def all_stacks():
    names = []
    for project in all_projects(repository_root()):
        names += [stack if project.name == "primage" else f"{project.folder.name}/{stack}" for stack in project.stacks()]
    return names


@pytest.fixture(scope="module", params=all_stacks())
def objects(request):
    return EmbeddedEngine().render(parse_stack_name(request.param), Options())


def pods(objects):
    for obj in objects:
        spec = obj.get("spec", {})
        if obj["kind"] in {"Job", "Deployment", "StatefulSet", "DaemonSet"}:
            yield spec["template"]["spec"]


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_pods_pass_pod_security_restricted(objects):
    for pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
            assert not context.get("privileged")


CONTROLLERS = {"hpc-connector"}
"""Service accounts with rights of their own, in roles that name what they may do."""


def test_pods_have_no_token_of_the_api_but_controllers(objects):
    for pod in pods(objects):
        assert pod["automountServiceAccountToken"] is (pod.get("serviceAccountName") in CONTROLLERS)


def test_no_role_may_everything(objects):
    for obj in objects:
        assert obj["kind"] not in {"ClusterRole", "ClusterRoleBinding"}
        for rule in obj.get("rules", []):
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
            assert "secrets" not in rule["resources"] or (rule["verbs"] == ["get"] and rule["resourceNames"])


def test_pods_say_what_they_need(objects):
    for pod in pods(objects):
        for container in containers(pod):
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_volumes_come_by_claim(objects):
    for pod in pods(objects):
        for volume in pod.get("volumes", []):
            assert set(volume) - {"name"} <= {"persistentVolumeClaim", "emptyDir", "configMap", "secret", "projected"}


def test_the_data_lake_is_read_only(objects):
    for pod in pods(objects):
        claims = {v["name"]: v["persistentVolumeClaim"] for v in pod.get("volumes", []) if "persistentVolumeClaim" in v}
        for container in containers(pod):
            for mount in container.get("volumeMounts", []):
                if claims.get(mount["name"], {}).get("claimName") == "datalake":
                    assert mount["readOnly"] is True
                    assert claims[mount["name"]]["readOnly"] is True


def test_nothing_is_opened_on_nodes(objects):
    assert not any(obj["kind"] == "Service" and obj["spec"].get("type") in {"NodePort", "LoadBalancer"} for obj in objects)


def test_no_secret_has_a_value_in_the_program(objects):
    assert not any(obj["kind"] == "Secret" for obj in objects)


def test_volumes_outlive_their_claims(objects):
    for obj in objects:
        if obj["kind"] == "PersistentVolume":
            assert obj["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
            assert obj["spec"]["claimRef"]["namespace"]


def test_namespaces_are_closed_by_default(objects):
    spaces = [obj for obj in objects if obj["kind"] == "Namespace"]
    for space in spaces:
        name = space["metadata"]["name"]
        assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        policies = [o for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["namespace"] == name]
        denied = next(policy for policy in policies if policy["metadata"]["name"] == "default-deny")
        assert denied["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_names_fit_kubernetes(objects):
    for obj in objects:
        assert len(obj["metadata"]["name"]) <= 63
