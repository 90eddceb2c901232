"""A VO's connector with the rights and under the policies that a site gives it, on a control plane of its own."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from control_plane import control_plane
from home_server import HomeServer
from hpc_centre import Centre
from hpc_machine import until

from primage.clients.cluster import Cluster, Ref, Refused
from primage.contract import names
from primage.contract.custom_resources import made_of
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.local.toolchain.build import KUBERNETES_TOOLS
from primage.projects.project import parse_stack_name

ROOT = Path(__file__).resolve().parents[2]
VO, MEMBER, OTHER = "vo-dot-primage-dot-eu", "member1-at-primage-dot-eu", "training-dot-primage-dot-eu"
ACCOUNT = names.hpc_connector(VO)
IN_ORDER = (
    {"CustomResourceDefinition", "Namespace", "ClusterRole"},
    {"ServiceAccount", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "RoleBinding"},
    {"Member"},
)
MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    """An operator's kubeconfig and connection; the local site's rights, policies and members are there."""
    folder = tmp_path_factory.mktemp("plane")
    declared = EmbeddedEngine().render(parse_stack_name("local"), Options())
    with control_plane(KUBERNETES_TOOLS.build(folder / "build.log", lambda *_: None), folder) as kubeconfig:
        cluster = Cluster(kubeconfig)
        for kinds in IN_ORDER:
            for obj in [*declared, *made_of(declared)]:
                if obj["kind"] in kinds:
                    until(f"{obj['kind']} {obj['metadata']['name']}", lambda obj=obj: _made(cluster, obj))
        for obj in declared:
            if obj["kind"] == "Member":
                path, status = f"{cluster._path(Ref.of(obj))}/status", {"status": {"namespace": obj["metadata"]["name"]}}
                cluster._call("PATCH", path, None, json.dumps(status), content_type=MERGE)
        yield kubeconfig, cluster


def _made(cluster, obj):
    """Whether it could be: a kind is served a moment after its definition."""
    try:
        return cluster.apply(obj, manager="test")
    except Refused as refusal:
        if refusal.status != 404:
            raise
        return None


@pytest.fixture(scope="module")
def kubeconfig(standing, tmp_path_factory):
    """The connector's own: with a token that is bound to a pod of its."""
    given, cluster = standing
    spec = {"serviceAccountName": ACCOUNT, "containers": [{"name": "c", "image": "x"}]}
    metadata = {"name": "connector", "namespace": names.SYSTEM_NAMESPACE}
    pod = cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, manager="test")
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "connector", "uid": pod["metadata"]["uid"]}
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": bound}}
    path = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/serviceaccounts/{ACCOUNT}/token"
    config = yaml.safe_load(Path(given).read_text())
    config["users"][0]["user"] = {"token": cluster._call("POST", path, None, json.dumps(asked))["status"]["token"]}
    found = tmp_path_factory.mktemp("connector") / "kubeconfig"
    found.write_text(json.dumps(config))
    return str(found)


@pytest.fixture
def centre(standing, tmp_path):
    """An HPC centre, for which the VO and a member of it have credentials."""
    _, cluster = standing
    found = Centre(tmp_path / "centre").start()
    secret = {key: base64.b64encode(value).decode() for key, value in found.secret().items()}
    for namespace in (VO, MEMBER, OTHER):
        metadata = {"name": "backend-hpc", "namespace": namespace}
        cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": secret}, manager="test")
    yield found
    found.stop()


@pytest.fixture
def connector(kubeconfig, centre, tmp_path):
    home = HomeServer(tmp_path)
    for name in ("vo.primage.eu", "member1@primage.eu", "member2@primage.eu"):
        home.folder(name)
    environment = {
        **os.environ,
        "KUBECONFIG": kubeconfig,
        "PYTHONPATH": f"{ROOT / 'services/hpc_connector'}:{ROOT}",
        "PRIMAGE_VO": "vo.primage.eu",
        "PRIMAGE_BACKENDS": json.dumps([centre.backend()]),
        "PRIMAGE_HOME": str(home.socket),
        "PRIMAGE_ALIVE": str(tmp_path / "alive"),
    }
    with (tmp_path / "connector.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "hpc_connector"], env=environment, stdout=log, stderr=log)
    yield process
    process.kill()
    process.wait(30)
    home.stop()


def start(cluster, namespace):
    data = {"job": json.dumps({"host": "hpc", "script": "echo hi"})}
    metadata = {"name": "job", "namespace": namespace}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, manager="test")
    container = {"name": "job", "image": "hpc.primage.eu/none"}
    annotations = {"hpc.primage.eu/job": "job"}
    template = {"metadata": {"annotations": annotations}, "spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"managedBy": "hpc.primage.eu/connector", "template": template}
    return Ref.of(cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}, manager="test"))


def test_it_carries_the_jobs_of_the_vo_and_of_its_members_and_of_nobody_else(standing, connector, centre):
    _, cluster = standing
    served, other = [start(cluster, namespace) for namespace in (VO, MEMBER)], start(cluster, OTHER)

    def over(ref):
        conditions = (cluster.get(ref) or {}).get("status", {}).get("conditions") or []
        return any(one["type"] == "Complete" for one in conditions)

    until("both are done", lambda: all(map(over, served)), 90)
    assert len(centre.jobs()) == 2
    assert not cluster.get(other).get("status"), "another VO's"
    assert connector.poll() is None


def test_it_may_do_nothing_where_it_serves_nobody(kubeconfig):
    own = Cluster(kubeconfig)
    assert own.get(Ref("v1", "Namespace", MEMBER))
    for namespace in (OTHER, names.SYSTEM_NAMESPACE, "kube-system"):
        for ref in (
            Ref("v1", "Secret", "backend-hpc", namespace),
            Ref("v1", "Namespace", namespace),
            Ref("batch/v1", "Job", "job", namespace),
        ):
            with pytest.raises(Refused, match="cannot get"):
                own.get(ref)
    with pytest.raises(Refused, match="cannot get"):
        own.get(Ref("v1", "Secret", "another", MEMBER))
