"""Rules every object of every program keeps, checked on what the programs render."""

import ast
import json
from functools import cache

import pytest
from data_settings import DCM4CHEE, MONGODB
from guacamole_settings import GUACAMOLE

from authorizer.domain.objects import address_of
from primage.contract.custom_resources import made_of
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.embedded.intake import Intake
from primage.paths import repository_root
from primage.projects.project import all_projects, parse_stack_name

SCALING = {"htc.parallelism": 1, "htc.scaling": {"minimum": 0, "maximum": 5}}
"""Settings that no stack of the repository has, and that make objects of their own."""


def all_stacks():
    names = []
    for project in all_projects(repository_root()):
        names += [stack if project.name == "primage" else f"{project.folder.name}/{stack}" for stack in project.stacks()]
    return names


PROGRAMS = {
    **{name: {} for name in all_stacks()},
    "htc/vo.primage.eu.local--scaling": SCALING,
    "local": {"site.login.guacamole": GUACAMOLE},
    "local with others' servers": {"site.image_archive": DCM4CHEE, "site.clinical_records": MONGODB},
}
"""Overrides by a stack's name, which more may follow where one stack is rendered in two ways."""


@cache
def rendered(name):
    """What a program declares: its objects, and the types of everything it registers."""
    types, register = set(), Intake.register
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Intake, "register", lambda self, found: types.add(found.type) or register(self, found))
        stack = parse_stack_name(name.partition(" ")[0])
        return whole(EmbeddedEngine().render(stack, Options(overrides=PROGRAMS[name]))), types


def whole(declared):
    """What a program declares, and what the authorizer makes of a site's."""
    return [*declared, *made_of(declared)]


@pytest.fixture(scope="module", params=PROGRAMS)
def objects(request):
    return rendered(request.param)[0]


def component_types():
    """Every class of the repository that groups or makes resources, by its name."""
    found = set()
    for folder in ("primage", "infra", "apps"):
        for path in (repository_root() / folder).rglob("*.py"):
            bases = {
                node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.ClassDef)
            }
            found |= {name for name, parents in bases.items() if parents & {"ComponentResource", "GeneratedSecret"}}
    return found


def test_the_rules_are_checked_on_every_type_of_component():
    """A component that no program here declares would keep no rule: give PROGRAMS one that does."""
    declared = {part for name in PROGRAMS for kind in rendered(name)[1] for part in kind.replace("/", ":").split(":")}
    known = component_types()
    assert {"QueueScaler", "Queue", "Authorizer", "QueueCredentials"} <= known
    assert known <= declared


SYSTEM = "primage-system"
"""Where the site's own pods run, which no tenant has rights in."""


def pods(objects, *, system=False, without=()):
    for obj in objects:
        spec = obj.get("spec", {})
        if obj["metadata"]["name"].startswith(tuple(without)):
            continue
        if obj["kind"] in {"Job", "Deployment", "StatefulSet", "DaemonSet"} and (obj["metadata"]["namespace"] == SYSTEM) is system:
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


DATA = {"image-archive", "clinical-records"}
"""What has no token, reaches nobody outside its own pods, and is not root but for the pods of DCM4CHEE."""


def test_what_keeps_images_and_records_is_not_root_and_has_no_token(objects):
    for obj in objects:
        if obj["kind"] in {"StatefulSet", "Job"} and obj["metadata"]["name"].startswith(tuple(DATA)):
            pod = obj["spec"]["template"]["spec"]
            for container in containers(pod):
                context = container["securityContext"]
                assert context["allowPrivilegeEscalation"] is False
                assert context["capabilities"]["drop"] == ["ALL"]
                assert "token" not in {mount["name"] for mount in container["volumeMounts"]}
                if "/dcm4che/" not in container["image"]:
                    assert context["readOnlyRootFilesystem"] is True
                    assert {**pod["securityContext"], **context}["runAsNonRoot"] is True
                    assert "add" not in context["capabilities"]


def test_images_and_records_are_reached_by_one_service_and_by_named_networks_and_reach_nobody(objects):
    policies = {obj["metadata"]["name"]: obj["spec"] for obj in objects if obj["kind"] == "NetworkPolicy"}
    service = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "datasets"}}}
    for name in DATA & policies.keys():
        first, *others = policies[name]["ingress"]
        itself = {"podSelector": policies[name]["podSelector"]}
        assert first["from"] in ([service], [service, itself])
        assert all(
            set(peer) == {"ipBlock"} and peer["ipBlock"]["cidr"] == "10.89.77.0/24" for one in others for peer in one["from"]
        )
        reached = [peer for one in policies[name]["egress"] for peer in one["to"]]
        assert all(peer == itself or "k8s-app" in peer["podSelector"]["matchLabels"] for peer in reached)


OF_ROOT = {"folders": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"], "home": ["SETUID", "SETGID"]}
"""What a container that is root may do besides being root, which is nothing without."""


def test_the_sites_own_pods_are_root_without_a_token_or_have_a_token_and_are_not_root(objects):
    for pod in pods(objects, system=True):
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert pod["automountServiceAccountToken"] is False
        assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    for pod in pods(objects, system=True, without=DATA):
        for container in containers(pod):
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            if mounted & {"database", "realm", "site"} or container["name"] == "guacd":
                assert container["securityContext"] == security
                assert pod["securityContext"]["runAsNonRoot"]
                assert "token" not in mounted
            elif "certificates" in mounted:
                assert container["securityContext"] == security
                assert pod["securityContext"]["runAsNonRoot"]
                assert ("token" in mounted) is (container["name"] == "contour"), "what browsers reach has none"
            elif "token" in mounted:
                uid = {"authorizer": 10002, "hpc-connector": 10003}[container["name"]]
                assert container["securityContext"] == {**security, "runAsNonRoot": True, "runAsUser": uid, "runAsGroup": uid}
                assert not mounted & {"datalake", "home"}
            else:
                root = {"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": OF_ROOT[container["name"]]}}
                found = dict(container["securityContext"])
                assert found.pop("runAsGroup") in ({0} if container["name"] == "folders" else {20001, 20002})
                assert found == {**security, **root}


def test_a_connector_has_no_folder_but_the_private_ones_of_its_vo(objects):
    for pod in pods(objects, system=True):
        for container in containers(pod):
            if container["name"] in {"home", "hpc-connector"}:
                of_home = [mount["subPath"] for mount in container["volumeMounts"] if mount["name"] == "home"]
                assert of_home in ([], ["vo.primage.eu/private"], ["training.primage.eu/private"])


def test_pods_have_no_token_of_the_api_but_those_with_a_role_that_says_what_for(objects):
    bound = {
        (subject["namespace"], subject["name"])
        for binding in objects
        if binding["kind"] == "RoleBinding"
        for subject in binding["subjects"]
        if subject["kind"] == "ServiceAccount"
    }
    for obj in objects:
        for pod in pods([obj]):
            account = (obj["metadata"].get("namespace"), pod.get("serviceAccountName"))
            assert pod["automountServiceAccountToken"] is (account in bound)


def test_a_scaler_may_look_at_and_change_one_job(objects):
    for obj in objects:
        name = obj["metadata"]["name"]
        if obj["kind"] == "Role" and name.endswith("-scaler"):
            job = f"{name.removesuffix('-queue-scaler')}-consumers"
            rule = {"apiGroups": ["batch"], "resources": ["jobs"], "resourceNames": [job], "verbs": ["get", "patch"]}
            assert obj["rules"] == [rule]
            assert any(other["kind"] == "Job" and other["metadata"]["name"] == job for other in objects)


def test_no_role_may_everything(objects):
    whole_cluster = {(obj["kind"], obj["metadata"]["name"]) for obj in objects if obj["kind"].startswith("ClusterRole")}
    authorizers = {("ClusterRole", "primage-authorizer"), ("ClusterRoleBinding", "primage-authorizer")}
    connectors = {("ClusterRole", "primage-hpc-connector"), ("ClusterRole", "primage-hpc-connector-members")}
    gateway = {
        ("ClusterRole", "primage-contour"),
        ("ClusterRoleBinding", "primage-contour"),
        *(("ClusterRole", f"primage-routes-{role}") for role in ("edit", "view")),
    }
    people = {("ClusterRole", "primage-join"), ("ClusterRole", "primage-membership")}
    bound = (connectors | people) & whole_cluster
    assert whole_cluster in (set(), authorizers | connectors | gateway | people)
    for obj in objects:
        for rule in obj.get("rules", []):
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
            assert not {"escalate", "impersonate"} & set(rule["verbs"])
            assert "bind" not in rule["verbs"] or rule["resourceNames"] == ["edit", "view", *sorted(name for _, name in bound)]
            if obj["metadata"]["name"] == "primage-contour":
                writes = set(rule["verbs"]) - {"get", "list", "watch"}
                assert not writes or all(name.endswith("/status") for name in rule["resources"]), (
                    "it reads, and says what came of it"
                )
            elif obj["metadata"]["name"] == "primage-authorizer" and "secrets" in rule["resources"]:
                assert (rule["verbs"], rule["resourceNames"]) == (["list", "delete"], ["primage-pull", "access-primage-storage"])
            else:
                assert "secrets" not in rule["resources"] or (rule["verbs"] == ["get"] and rule["resourceNames"])


def test_whoever_has_an_account_may_ask_and_take_it_back_and_nothing_else(objects):
    """No patch: what it makes of somebody else's request would be quoted to whoever tries, before admission is asked."""
    for obj in objects:
        if (obj["kind"], obj["metadata"]["name"]) == ("ClusterRole", "primage-join"):
            rule = {"apiGroups": ["primage.eu"], "resources": ["membershiprequests"], "verbs": ["create", "delete"]}
            assert obj["rules"] == [rule]


def test_the_authorizer_watches_and_may_write_every_kind_that_tenants_have(objects):
    role = next((o for o in objects if (o["kind"], o["metadata"]["name"]) == ("ClusterRole", "primage-authorizer")), None)
    if role is None:
        return
    allowed = {(group, r): set(rule["verbs"]) for rule in role["rules"] for group in rule["apiGroups"] for r in rule["resources"]}
    for obj in made_of(objects):
        kind = address_of(obj).kind
        assert {"list", "watch", "create", "patch", "delete"} <= allowed[kind.group, kind.plural]


def test_pods_say_what_they_need(objects):
    for pod in pods(objects):
        for container in containers(pod):
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_no_image_is_left_to_a_short_name(objects):
    """Each of ours is in the site's registry; others were named whole by whoever chose them."""
    for pod in [*pods(objects), *pods(objects, system=True)]:
        for container in containers(pod):
            image = container["image"]
            assert "." in image.partition("/")[0], image
            assert not image.startswith(("localhost/", "primage/"))


def test_images_are_named_by_digest_once_they_are_pushed(tmp_path):
    registry, digest = "10.89.77.11:5000", "sha256:" + "1f" * 32
    names = ("authorizer", "contour", "envoy", "hpc-connector", "keycloak", "nx-27017", "orthanc", "portal", "postgresql", "web")
    (tmp_path / "images.json").write_text(
        json.dumps({f"primage/{name}:1": f"{registry}/primage/{name}@{digest}" for name in names})
    )
    options = Options(overrides={"site.images.references": str(tmp_path / "images.json")})
    site = whole(EmbeddedEngine().render(parse_stack_name("local"), options))
    found = [container["image"] for system in (True, False) for pod in pods(site, system=system) for container in containers(pod)]
    assert set(found) == {f"{registry}/primage/{name}@{digest}" for name in names}


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


def test_nothing_is_opened_on_nodes_but_the_ways_in(objects):
    opened = [obj for obj in objects if obj["kind"] == "Service" and obj["spec"].get("type") in {"NodePort", "LoadBalancer"}]
    assert sorted((obj["metadata"]["name"], [port["port"] for port in obj["spec"]["ports"]]) for obj in opened) in (
        [],
        [("gateway", [8443]), ("keycloak", [8443]), ("portal", [8443])],
    )


def test_the_portal_has_no_token_and_its_account_no_rights(objects):
    for obj in objects:
        if obj["kind"].endswith("RoleBinding"):
            assert not any(subject["name"] == "portal" for subject in obj["subjects"])
        if (obj["kind"], obj["metadata"]["name"]) == ("Deployment", "portal"):
            volumes = obj["spec"]["template"]["spec"]["volumes"]
            assert not any(
                "serviceAccountToken" in source for volume in volumes for source in volume.get("projected", {}).get("sources", [])
            )


def test_the_gateway_takes_routes_from_tenants_alone_and_reaches_their_login_proxies_alone(objects):
    found = {(obj["kind"], obj["metadata"]["name"]): obj["spec"] for obj in objects if obj["kind"] in {"Gateway", "NetworkPolicy"}}
    if ("Gateway", "gateway") not in found:
        return
    (listener,) = found["Gateway", "gateway"]["listeners"]
    tenants = {"matchExpressions": [{"key": "primage.eu/vo", "operator": "Exists"}]}
    assert listener["allowedRoutes"]["namespaces"] == {"from": "Selector", "selector": tenants}
    assert [kind["kind"] for kind in listener["allowedRoutes"]["kinds"]] == ["HTTPRoute"]
    assert listener["protocol"] == "HTTPS"
    ways = found["NetworkPolicy", "gateway"]
    proxies, contour, names = ways["egress"]
    assert proxies == {"to": [{"namespaceSelector": tenants}], "ports": [{"port": 4180, "protocol": "TCP"}]}
    assert contour["to"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "contour"}}}]
    assert {port["port"] for port in names["ports"]} == {53}
    assert all("10.244.0.0/16" in peer["ipBlock"].get("except", []) for peer in ways["ingress"][0]["from"][:1]), "no pod comes in"
    (told,) = found["NetworkPolicy", "contour"]["ingress"]
    assert told["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]


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
        level = "privileged" if name == SYSTEM else "restricted"
        assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == level
        policies = [o for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["namespace"] == name]
        denied = next(policy for policy in policies if policy["metadata"]["name"] == "default-deny")
        assert denied["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_names_fit_kubernetes(objects):
    for obj in objects:
        assert len(obj["metadata"]["name"]) <= 63


def test_quotas_bound_every_kind_of_object_a_member_may_make(objects):
    for obj in objects:
        if obj["kind"] == "ResourceQuota":
            hard = obj["spec"]["hard"]
            assert {f"count/{kind}{group}" for group, kinds in MAKEABLE.items() for kind in kinds.split()} <= hard.keys()
            assert {"limits.ephemeral-storage", "requests.ephemeral-storage"} <= hard.keys()


MAKEABLE = {
    "": "configmaps persistentvolumeclaims pods replicationcontrollers secrets serviceaccounts services",
    ".apps": "daemonsets deployments replicasets statefulsets",
    ".autoscaling": "horizontalpodautoscalers",
    ".batch": "cronjobs jobs",
    ".coordination.k8s.io": "leases",
    ".networking.k8s.io": "ingresses networkpolicies",
    ".policy": "poddisruptionbudgets",
    ".resource.k8s.io": "resourceclaims resourceclaimtemplates",
}
"""What Kubernetes 1.36's role `edit` may create, apart from events, which no quota counts."""


def test_scratch_space_has_an_end(objects):
    for obj in objects:
        if obj["kind"] == "LimitRange":
            (limit,) = obj["spec"]["limits"]
            assert {"default", "defaultRequest", "max"} <= {key for key in limit if "ephemeral-storage" in limit[key]}
