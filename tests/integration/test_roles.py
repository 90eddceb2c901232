"""Each role keeps what it promises, on the standing site that the roles made, and refuses what is not its own, on machines apart.

What a role promises is in its molecule scenario (`verify.yml`). That all of them change nothing when they run again is seen in
tests/e2e/test_site.py, where the site's own playbooks do.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from machine import output_on
from turns import turn

from primage.local.images import storage
from primage.local.toolchain.build import KUBERNETES_TOOLS

ROOT = Path(__file__).resolve().parents[2]
SITE = "/var/lib/primage/local"
INVENTORY = ROOT / ".config/molecule/inventory.yml"
ROLES = sorted(path.parents[2].name for path in ROOT.glob("roles/*/molecule/default/molecule.yml"))
ON_THE_SITE = {
    "registry_controller_directory": f"{SITE}/registry",
    "shared_folders_datalake": f"{SITE}/shared/datalake",
    "shared_folders_home": f"{SITE}/shared/home",
    "verify_folders_host": "localhost",
    "verify_slurm_host": "hpc",
    "verify_slurm_accounts": ["vo20001", "vo20002"],
}
"""Where on the site is what a scenario has on its one machine."""


def mirror(name):
    """The site's registry, in place of the one that a scenario has on its own machine."""
    return {
        "name": name,
        "url": f"https://10.89.77.11:5001/v2{'' if name.startswith('10.') else f'/{name}'}",
        "authority_file": f"{SITE}/registry/certs/ca.crt",
        "login_file": f"{SITE}/registry/pull.json",
    }


MIRRORS = {"container_runtime_registries": [mirror("10.89.77.11:5000"), mirror("registry.k8s.io")]}


@pytest.fixture(scope="module")
def environment(site):
    found = {
        **os.environ,
        **storage.environment(),
        "PRIMAGE_TOOLS": str(KUBERNETES_TOOLS.directory),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    yield found
    play(found, ".config/molecule/destroy.yml")


def of(roles, playbook):
    return [f"roles/{role}/molecule/default/{playbook}.yml" for role in roles]


def ansible(environment, inventory, *arguments, timeout):
    """How ansible-playbook ended, and what it said."""
    command = ["ansible-playbook", "-i", str(inventory), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


def play(environment, *playbooks, inventory=INVENTORY, variables=MIRRORS):
    """What Ansible said, playbook by playbook in one run."""
    done = ansible(environment, inventory, "-e", json.dumps(variables), *playbooks, timeout=800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def machines(environment):
    """Two machines with all that a cluster needs, and no cluster."""
    play(environment, ".config/molecule/destroy.yml", *of(["local_machines", "container_runtime", "kubelet"], "converge"))
    return environment


def test_every_role_has_a_scenario():
    assert sorted(path.parent.parent.name for path in ROOT.glob("roles/*/tasks/main.yml")) == ROLES


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


def on(machine, script, given=""):
    return output_on(f"primage-molecule-{machine}", "bash", "-euo", "pipefail", "-c", script, given=given, timeout_s=180)


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
        "network_image": f"not-reached@sha256:{64 * '1'}",
    }
    inventory["all"]["vars"] |= {**settings, "kubeconfig_file": str(tmp_path / "kubeconfig")}
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))

    def refusal():
        done = ansible(machines, tmp_path / "inventory.yml", "playbooks/create-cluster.yml", timeout=400)
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


def test_a_control_plane_that_was_cut_short_on_its_way_up_is_finished(machines):
    on("front", CLEAR)
    scenario = "roles/kubernetes_control_plane/molecule/default"
    # Two machines at work would be in the way of what the last test waits for.
    playbooks = [f"{scenario}/{name}.yml" for name in ("cut-short", "converge", "verify")]
    play(machines, *playbooks, ".config/molecule/destroy.yml")


# Makes what the role makes for two ports of the loopback, and of another set of machines; then it is told what is to stay.
RULES = """
made() {
    iptables -t nat -A OUTPUT -d 127.0.0.1 -p tcp --dport $3 -m comment --comment $1 -j DNAT --to-destination $2:$3
    iptables -t nat -A POSTROUTING -s 127.0.0.0/8 -d $2 -p tcp --dport $3 -m comment --comment $1 -j MASQUERADE
    iptables -I INPUT -i $4 -d 127.0.0.0/8 -m conntrack --ctstate NEW,INVALID,UNTRACKED -m comment --comment $1 -j DROP
}
made mine 10.0.0.2 8443 bridge
made mine 10.0.0.3 8080 earlier
made mine-too 10.0.0.2 8443 bridge
bash roles/local_machines/files/forget_rules.sh "$@" > /dev/null
{ iptables -t nat -S; iptables -S; } | grep -c -e '--comment mine ' || true
{ iptables -t nat -S; iptables -S; } | grep -c -e '--comment mine-too '
"""


@pytest.mark.parametrize(("stays", "left"), [(["10.0.0.2:8443"], 3), ([], 0), (["10.0.0.2:844"], 1)])
def test_rules_of_the_loopback_go_with_the_setting_and_no_others(stays, left):
    """On a network of its own, which goes with the process. A port that begins alike is another one."""
    command = ["unshare", "--net", "bash", "-euo", "pipefail", "-c", RULES, "-", "mine", "bridge", *stays]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [str(left), "3"]


# The last: others have the site's Slurm for minutes.
def test_the_site_has_what_each_role_promises(environment):
    variables = {**ON_THE_SITE, "ansible_playbook_python": sys.executable}
    with turn("slurm"):
        said = play(environment, *of(ROLES, "verify"), inventory=ROOT / "playbooks/inventories/local.yml", variables=variables)
    assert said.count("PLAY [") == len(ROLES)
    assert "no hosts matched" not in said
