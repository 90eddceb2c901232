"""The programs run with no cluster at all: what they declare, and what they output."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from memory_cluster import MemoryCluster

from primage.clients.cluster import Ref
from primage.contract.custom_resources import made_of
from primage.contract.outputs import SiteOutputs
from primage.contract.tenant import Tenant
from primage.contract.tenant_objects.folders import folders
from primage.contract.vo import VoConfig
from primage.engine.api import Options
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.projects.project import parse_stack_name


@pytest.fixture(scope="module")
def site():
    return whole()


def whole(**overrides):
    """The objects of the local site: the program's, and what the authorizer makes of them."""
    declared = EmbeddedEngine().render(parse_stack_name("local"), Options(overrides=overrides))
    return [*declared, *made_of(declared)]


def stack_settings(site):
    return yaml.safe_load(Path(f"Pulumi.{site}.yaml").read_text())["config"]["primage:site"]


def kinds(objects, namespace):
    return sorted(o["kind"] for o in objects if o["metadata"].get("namespace") == namespace)


def test_each_vo_has_its_baseline(site):
    wanted = ["ConfigMap", "LimitRange", *["NetworkPolicy"] * 6, *["PersistentVolumeClaim"] * 3, "ResourceQuota"]
    wanted += ["ConfigMap", "RoleBinding"]  # its way to HPC
    assert kinds(site, "member1-at-primage-dot-eu") == sorted([*wanted, "RoleBinding"]), "their own rights"
    wanted += ["RoleBinding"]  # its connector sees who the members are
    wanted += ["RoleBinding"]  # everybody may ask to join
    of_members = ["Member", "RoleBinding"] * 2
    assert kinds(site, "vo-dot-primage-dot-eu") == sorted([*wanted, *of_members])
    assert kinds(site, "training-dot-primage-dot-eu") == sorted([*wanted, "ConfigMap"]), "it has a second backend"


def test_every_object_can_be_traced_to_its_site(site):
    assert all(o["metadata"]["labels"]["primage.eu/site"] == "local" for o in site)


def test_a_namespace_says_who_its_pods_are(site):
    spaces = {o["metadata"]["name"]: o["metadata"] for o in site if o["kind"] == "Namespace"}
    named = {name: (m["labels"].get("primage.eu/uid"), m["labels"].get("primage.eu/gid")) for name, m in spaces.items()}
    assert named["member1-at-primage-dot-eu"] == ("40001", "20001")
    assert named["vo-dot-primage-dot-eu"] == ("10001", "20001")
    assert named["primage-system"] == (None, None), "no tenant's, so no policy of tenants holds there"


def test_what_the_site_made_is_marked_and_what_apps_make_is_not(site):
    assert all(o["metadata"]["labels"]["primage.eu/made-by"] == "site" for o in site)
    apps = EmbeddedEngine().render(parse_stack_name("htc/vo.primage.eu.local"), Options())
    templates = [o["spec"]["template"] for o in [*site, *apps] if "template" in o.get("spec", {})]
    assert templates
    assert not any("primage.eu/made-by" in item["metadata"]["labels"] for item in [*apps, *templates] if "metadata" in item)


def test_every_policy_holds_for_tenants_alone_and_refuses_what_it_cannot_decide(site):
    policies = {o["metadata"]["name"]: o["spec"] for o in site if o["kind"] == "ValidatingAdmissionPolicy"}
    bindings = {o["spec"]["policyName"]: o["spec"] for o in site if o["kind"] == "ValidatingAdmissionPolicyBinding"}
    assert len(policies) == 16
    assert policies.keys() == bindings.keys()
    for name, spec in policies.items():
        selector = spec["matchConstraints"]["namespaceSelector"]
        assert selector == {"matchExpressions": [{"key": "primage.eu/vo", "operator": "Exists"}]}
        assert {rule["scope"] for rule in spec["matchConstraints"]["resourceRules"]} == {"Namespaced"}
        assert spec["failurePolicy"] == "Fail"
        assert bindings[name]["validationActions"] == ["Deny"]
        # Kubernetes says nothing but "failed expression" to who is refused by a rule without one.
        assert all(rule["message"].strip() for rule in spec["validations"])


def test_a_new_member_changes_nothing_of_the_others(site):
    vos = [dict(vo) for vo in stack_settings("local")["vos"]]
    vos[0]["users"] = [*vos[0]["users"], {"name": "new@primage.eu", "uid": 40009}]
    known = {Ref.of(obj): obj for obj in site}
    after = {Ref.of(obj): obj for obj in whole(**{"site.vos": vos})}
    assert {ref: after[ref] for ref in known} == known
    assert {ref.namespace or ref.name for ref in after.keys() - known.keys()} >= {"new-at-primage-dot-eu"}
    assert all("new-at-primage-dot-eu" in str(ref) for ref in after.keys() - known.keys())


def test_folders_are_as_ever():
    """Owner, group and mode of every folder, as sites have them on their file systems."""
    vo = VoConfig.model_validate(stack_settings("local")["vos"][0])
    tenants = [Tenant(vo.organisation), *(Tenant(vo.organisation, user.member) for user in vo.users)]
    wanted = dict.fromkeys(folder for tenant in tenants for folder in folders(tenant))
    assert [("/".join([f.volume, *f.path]), f.uid, f.gid, f"{f.mode:o}") for f in wanted] == [
        ("datalake/vo.primage.eu", 0, 20001, "2750"),
        ("home/vo.primage.eu", 0, 20001, "2750"),
        ("home/vo.primage.eu/shared", 0, 20001, "2770"),
        ("home/vo.primage.eu/private", 0, 20001, "2750"),
        ("home/vo.primage.eu/private/vo.primage.eu", 0, 20001, "2770"),
        ("home/vo.primage.eu/private/member1@primage.eu", 40001, 40001, "2770"),
        ("home/vo.primage.eu/private/member2@primage.eu", 40002, 40002, "2770"),
    ]


def test_outputs_are_the_contract():
    outputs = EmbeddedEngine().offline_outputs(parse_stack_name("local"), Options())
    assert SiteOutputs.model_validate(outputs["site"]).vos["vo.primage.eu"].namespace == "vo-dot-primage-dot-eu"


def test_programs_run_one_after_the_other_in_one_process(site):
    again = whole()
    assert sorted(map(json.dumps, again)) == sorted(map(json.dumps, site))


def test_an_app_reads_the_site_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path))
    (job,) = EmbeddedEngine().render(parse_stack_name("batch/vo.primage.eu.local"), Options())
    assert job["metadata"]["namespace"] == "vo-dot-primage-dot-eu"
    assert job["spec"]["backoffLimit"] == 2
    environment = {item["name"] for item in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert {"ONECLIENT_ACCESS_TOKEN", "ONECLIENT_PROVIDER_HOST", "MOUNT_POINT"} <= environment


def test_a_run_has_its_own_names():
    (job,) = EmbeddedEngine().render(parse_stack_name("batch/vo.primage.eu.local--trial"), Options())
    assert job["metadata"]["name"] == "hello-trial"


def test_a_site_that_is_not_up_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path))
    monkeypatch.setattr(Clusters, "at", lambda *_: MemoryCluster())
    with pytest.raises(PrimageError, match="local, which this one refers to, is not up") as caught:
        EmbeddedEngine().preview(parse_stack_name("batch/vo.primage.eu.local"), Options())
    assert "primage up local" in caught.value.todo


def test_bad_settings_name_every_field():
    options = Options(overrides={"job.cpu": "lots", "job.colour": "blue", "job.env": {"HOME": "/"}})
    with pytest.raises(PrimageError) as caught:
        EmbeddedEngine().render(parse_stack_name("batch/vo.primage.eu.local"), options)
    for words in ("primage-batch:job.cpu: 'lots' is not a valid quantity", "primage-batch:job.colour: unknown key"):
        assert words in caught.value.what


PROGRAM = """
import pulumi
import pulumi_kubernetes as kubernetes
{body}
"""


def small(tmp_path, body):
    (tmp_path / "infra").mkdir(exist_ok=True)
    (tmp_path / "Pulumi.yaml").write_text("name: primage\nmain: infra/\n")
    (tmp_path / "Pulumi.tiny.yaml").write_text("config: {}\n")
    (tmp_path / "infra/__main__.py").write_text(PROGRAM.format(body=body))
    return parse_stack_name("tiny")


def test_an_unknown_resource_is_named(tmp_path, monkeypatch):
    body = "pulumi.CustomResource('random:index/randomId:RandomId', 'id', {'byteLength': 8})"
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(tmp_path))
    with pytest.raises(
        PrimageError, match=r"does not know resources of type random:index/randomId:RandomId \(resource id\)"
    ) as caught:
        EmbeddedEngine().render(small(tmp_path, body), Options())
    assert "Pulumi CLI" in caught.value.todo


def test_an_object_without_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(tmp_path))
    with pytest.raises(PrimageError, match=r"has no metadata\.name"):
        EmbeddedEngine().render(small(tmp_path, "kubernetes.core.v1.ConfigMap('c', data={'a': 'b'})"), Options())


def test_a_defect_in_a_program_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(tmp_path))
    with pytest.raises(PrimageError, match="the program failed: ZeroDivisionError"):
        EmbeddedEngine().render(small(tmp_path, "1 / 0"), Options())


def test_secrets_are_masked_in_manifests(tmp_path, monkeypatch):
    body = """
kubernetes.core.v1.Secret('s', metadata={'name': 's'}, string_data={'key': 'hunter2'})
kubernetes.core.v1.ConfigMap('c', metadata={'name': 'c'}, data={'key': pulumi.Output.secret('hunter2'), 'open': 'seen'})
"""
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(tmp_path))
    text = json.dumps(EmbeddedEngine().render(small(tmp_path, body), Options()))
    assert "hunter2" not in text
    assert "[secret]" in text


def test_the_command_line_renders(tmp_path):
    command = [sys.executable, "-m", "primage", "render", "batch/vo.primage.eu.local", "--out", str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert len(json.loads(done.stdout)["files"]) == 1


def test_a_connector_reaches_its_centres_and_the_api_and_asks_for_names_only_where_there_are_some():
    def ways(**more):
        settings = stack_settings("local")["hpc"]["backends"]
        named = [{**backend, **more} for backend in settings]
        found = {o["metadata"]["name"]: o["spec"] for o in whole(**{"site.hpc.backends": named}) if o["kind"] == "NetworkPolicy"}
        spec = found["hpc-connector-training-dot-primage-dot-eu"]
        assert "ingress" not in spec
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        return [
            (rule["to"][0].get("ipBlock", {}).get("cidr", "DNS"), [port["port"] for port in rule["ports"]])
            for rule in spec["egress"]
        ]

    api = ("10.89.77.11/32", [6443])
    centre, rest = ("10.89.77.13/32", [22]), ("10.89.77.13/32", [22, 6820])
    assert ways() == [api, centre, rest]
    assert ways(endpoint="login.example.org", networks=["10.89.77.13/32"]) == [api, centre, rest, ("DNS", [53, 53])]
