"""Each role on machines of its own: it converges, a second run changes nothing, and what it promises is there.

The playbooks are those of each role's molecule scenario; here they run on one pair of machines, one after the other, as in
create-cluster.yml: what a role needs is there, and what it makes is not. A site that stands meanwhile is not touched.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from primage.local.images import storage
from primage.local.images.build import ensure_images
from primage.local.images.catalogue import base_image, kube_router_image, kubernetes_images, machine_image
from primage.local.site import LocalSite
from primage.local.toolchain.build import KUBE_ROUTER_TOOLS, KUBERNETES_TOOLS

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = ROOT / ".config/molecule/inventory.yml"
MACHINES = ("validate_inventory", "local_machines", "shared_folders", "slurm", "registry", "container_runtime", "kubelet")
CLUSTER = ("kubernetes_control_plane", "kubernetes_node", "cluster_network")
ROLES = sorted(path.parents[2].name for path in ROOT.glob("roles/*/molecule/default/molecule.yml"))

pytestmark = [pytest.mark.site, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "images.log"
    tools, router = (tools.build(log, lambda fraction, what: None) for tools in (KUBERNETES_TOOLS, KUBE_ROUTER_TOOLS))
    images = [*kubernetes_images(tools), kube_router_image(router)]
    ensure_images([base_image(), machine_image(ROOT), *images], repository=ROOT, log=log)
    found = {
        **os.environ,
        **storage.environment(),
        "PRIMAGE_TOOLS": str(tools),
        "PRIMAGE_IMAGES": " ".join(image.name for image in images),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    yield found
    play(found, ".config/molecule/destroy.yml")
    if not LocalSite(ROOT).machines():
        LocalSite(ROOT).down()  # takes along what podman leaves on the host


def of(roles, playbook):
    return [f"roles/{role}/molecule/default/{playbook}.yml" for role in roles]


def play(environment, *playbooks):
    """What Ansible said, playbook by playbook in one run."""
    done = subprocess.run(
        ["ansible-playbook", "-i", str(INVENTORY), *playbooks],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def machines(environment):
    """Two machines with all that a cluster needs, and no cluster."""
    play(environment, ".config/molecule/destroy.yml")
    play(environment, *of(MACHINES, "converge"), ".config/molecule/push.yml")
    return environment


def test_every_role_has_a_scenario():
    assert sorted(path.parent.parent.name for path in ROOT.glob("roles/*/tasks/main.yml")) == ROLES
    assert sorted((*MACHINES, *CLUSTER)) == ROLES


# As short as it can be for kubelet in a machine that is a container; all else is kubeadm's own.
PLAIN = """
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.3
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
"""
CLEAR = "kubeadm reset --force; rm --recursive --force /etc/kubernetes/primage"
# All that roles write, and the processes that would be others afterwards.
FILES = "find /etc /usr/local /var/lib/kubelet -maxdepth 4 -type f -not -path '*/pods/*' -exec sha256sum {} + | sort"
PROCESSES = "pgrep --list-name 'kubelet|containerd$|kube-apiserver|etcd' | sort"


def on(machine, script, given=None):
    done = subprocess.run(
        ["podman", "exec", "--interactive", f"primage-molecule-{machine}", "bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, **storage.environment()},
        input=given,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def create_cluster(machines, tmp_path):
    """Runs create-cluster.yml on machines that are ready for a cluster; says what it said, and fails when it did not refuse."""
    on("front", CLEAR)
    inventory = yaml.safe_load(INVENTORY.read_text())
    groups = {"control_plane": {"hosts": {"front": {}}}, "workers": {"hosts": {"worker-1": {}}}}
    inventory["all"]["children"]["cluster"]["children"] = groups
    settings = {
        "site": "molecule",
        "kubernetes_version": "v1.36.3",
        "pod_subnet": "10.244.0.0/16",
        "tools_on_machine": True,
        "network_image": "not-reached",
    }
    inventory["all"]["vars"] |= {**settings, "kubeconfig_file": str(tmp_path / "kubeconfig")}
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))

    def refusal():
        command = ["ansible-playbook", "-i", str(tmp_path / "inventory.yml"), "playbooks/create-cluster.yml"]
        done = subprocess.run(command, cwd=ROOT, env=machines, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode != 0
        assert not (tmp_path / "kubeconfig").exists()
        return " ".join(done.stdout.split())

    return refusal


def test_a_cluster_made_by_plain_kubeadm_survives_the_playbook_untouched(create_cluster):
    on("front", "cat > /root/plain.yaml", PLAIN)
    init = "kubeadm init --config /root/plain.yaml --ignore-preflight-errors=SystemVerification --skip-phases=addon"
    on("front", f"{init}; rm /root/plain.yaml")
    try:
        before = on("front", FILES), on("front", PROCESSES)
        assert "kube-apiserver" in before[1]
        said = create_cluster()
        assert "front has a cluster that was not made here for cluster molecule" in said
        assert "kubeadm reset" in said, "what to do"
        assert (on("front", FILES), on("front", PROCESSES)) == before
        # A record of another cluster that once was there makes it no more ours.
        on(
            "front",
            """mkdir /etc/kubernetes/primage; cd /etc/kubernetes/primage; touch initialised
            echo '{"name": "molecule", "ca": "another"}' > cluster.json""",
        )
        assert "whose name or certificate authority differs from what is there" in create_cluster()
        assert on("front", "kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /readyz") == "ok"
    finally:
        on("front", CLEAR)


def test_a_node_of_another_cluster_is_refused_before_anything_is_touched(create_cluster):
    clear = "rm --recursive --force /etc/kubernetes/pki /etc/kubernetes/kubelet.conf"
    on(
        "worker-1",
        "mkdir --parents /etc/kubernetes/pki; echo theirs | tee /etc/kubernetes/pki/ca.crt > /etc/kubernetes/kubelet.conf",
    )
    try:
        before = on("front", FILES), on("worker-1", FILES)
        assert "worker-1 belongs to a different cluster from front's" in create_cluster()
        assert (on("front", FILES), on("worker-1", FILES)) == before
    finally:
        on("worker-1", clear)


@pytest.fixture(scope="module")
def cluster_of_roles(machines):
    """A cluster made role by role, from a control plane that was cut short on its way up."""
    play(machines, *of(["kubernetes_control_plane"], "prepare"), *of(CLUSTER, "converge"))
    return machines


def test_every_role_run_again_changes_nothing(cluster_of_roles):
    said = play(cluster_of_roles, *of(MACHINES, "converge"), *of(CLUSTER, "converge"))
    assert re.findall(r"^changed: .*", said, re.MULTILINE) == []
    assert "changed=0" in said
    assert said.count("changed=") == said.count("changed=0")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_does_what_it_promises(cluster_of_roles, role):
    play(cluster_of_roles, *of([role], "verify"))
