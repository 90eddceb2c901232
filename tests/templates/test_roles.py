"""Roles say the same in their argument specs and their defaults, and playbooks are hosts plus roles."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.parent for path in ROOT.glob("roles/*/tasks/main.yml"))
PLAYBOOKS = sorted(ROOT.glob("playbooks/*.yml"))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_and_argument_specs_agree(role):
    options = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    text = (role / "defaults/main.yml").read_text()
    defaults = yaml.safe_load(text) or {}
    for name, option in options.items():
        assert name.startswith(f"{role.name}_")
        assert option["description"]
        if option.get("required"):
            assert name not in defaults
            assert f"# {name}:" in text, f"{name} is required and not shown in defaults/main.yml"
        else:
            assert defaults[name] == option["default"], name
    assert set(defaults) == {name for name, option in options.items() if not option.get("required")}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_default_has_a_paragraph(role):
    lines = (role / "defaults/main.yml").read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith(f"{role.name}_"):
            assert lines[number - 1].startswith("# "), line


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_role_has_a_readme(role):
    text = (role / "README.md").read_text()
    for heading in ("Example", "Idempotent", "Roll back"):
        assert heading in text


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_are_hosts_plus_roles(playbook):
    for play in yaml.safe_load(playbook.read_text()):
        assert set(play) <= {"name", "hosts", "connection", "serial", "roles", "tasks"}
        assert ("roles" in play) != ("tasks" in play)
        assert all(set(task) <= {"name", "ansible.builtin.import_role", "vars", "when"} for task in play.get("tasks", []))


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_pass_the_syntax_check(playbook):
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [program, "-i", "playbooks/inventories/local.yml", "--syntax-check", playbook]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def check_inventory(tmp_path, *changes):
    """What the playbook says of the example, with the tools and the digest that it asks for, and with some things amiss."""
    text = (ROOT / "playbooks/inventories/example.yml").read_text()
    for name in ("kubeadm", "kubectl", "kubelet"):
        (tmp_path / name).write_text("#!/bin/sh\necho v1.36.3\n")
        (tmp_path / name).chmod(0o755)
    finished = text.replace("/opt/kubernetes/v1.36.3", str(tmp_path)).replace("0" * 64, "1" * 64)
    for pattern, instead in changes:
        assert re.search(pattern, finished), pattern
        finished = re.sub(pattern, instead, finished)
    (tmp_path / "mysite.yml").write_text(finished)
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [program, "-i", tmp_path / "mysite.yml", "playbooks/create-cluster.yml", "--tags", "validate_inventory"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "changes",
    [[], [(r"(?m)(tools_directory: ).*$", "\\1/nowhere\n    tools_on_machine: true")]],
    ids=["tools here", "tools on the machines"],
)
def test_a_finished_inventory_passes(tmp_path, changes):
    status, said = check_inventory(tmp_path, *changes)
    assert status == 0, said


def test_every_mistake_of_an_inventory_is_told_before_a_machine_is_touched(tmp_path):
    status, said = check_inventory(
        tmp_path,
        ("(?m)^ *kubeconfig_file: .*$", ""),
        ("worker-1: ", "Worker_1: "),
        ("192.0.2.13", "192.0.2.12"),
        ("(?m)^    kubernetes_version: .*$", "    kubernetes_version: v1.36.2\n    registres: []"),
    )
    assert status != 0
    for words in (
        "does not set kubeconfig_file",
        "Worker_1 cannot be a node name",
        "Worker_1 and worker-2 have the same ansible_host, 192.0.2.12",
        "has kubeadm v1.36.3, kubectl v1.36.3, kubelet v1.36.3; kubernetes_version is v1.36.2",
        "sets registres, which the plays do not read. If you mean registries",
        "Nothing has been touched",
    ):
        assert words in said, words
    assert said.count(" ok=") == 1, "localhost's alone"


def test_tools_that_are_not_there_are_named(tmp_path):
    status, said = check_inventory(tmp_path, ("(?m)(tools_directory: ).*$", r"\1/nowhere"))
    assert status != 0
    assert "does not have kubeadm, kubectl, kubelet on this computer" in said


def test_an_inventory_without_the_group_cluster_is_told_what_is_missing(tmp_path):
    status, said = check_inventory(tmp_path, ("    cluster:", "    others:"))
    assert status != 0
    assert "The inventory has no group cluster" in said


GOOD = {
    "control_plane": ["front"],
    "workers": ["worker-1"],
    "cluster": ["front", "worker-1"],
    "variables": {"site": "mysite", "pod_subnet": "10.244.0.0/16", "network_image": "r.example/k@sha256:" + "1" * 64},
    "addresses": {"front": "192.0.2.11", "worker-1": "worker.example.org"},
    "version": "v1.36.3",
    "service_subnet": "10.96.0.0/16",
    "tools": "/tools",
    "missing_tools": [],
    "tool_versions": {
        "kubeadm": "v1.36.3",
        "kubectl": "Client Version: v1.36.3\nKustomize Version: v5.7.1",
        "kubelet": "Kubernetes v1.36.3",
    },
    "optional": ["registries", "network_kind"],
    "given": ["site", "pod_subnet", "network_image", "ansible_host", "groups", "inventory_hostname"],
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"control_plane": [], "cluster": ["worker-1"]}, "has 0 hosts and must have one"),
        ({"control_plane": ["front", "second"], "cluster": ["front", "second", "worker-1"]}, "has 2 hosts and must have one"),
        ({"workers": ["front"], "cluster": ["front"]}, "front is in control_plane and in workers"),
        ({"cluster": ["front"]}, "The difference is worker-1"),
        ({"cluster": []}, "has no group cluster"),
        ({"given": [*GOOD["variables"], "registres"]}, "sets registres, which the plays do not read. If you mean registries"),
        ({"given": [*GOOD["variables"], "registries", "registres", "network_policy"]}, None),
        ({"addresses": {"front": "a.example", "worker-1": "a.example"}}, "front and worker-1 have the same ansible_host"),
        ({"addresses": {"front": "", "worker-1": ""}}, None),
        ({"version": "1.36.3", "tool_versions": {}}, "write a full version"),
        ({"version": "v1.36", "tool_versions": {}}, "write a full version"),
        ({"missing_tools": ["kubeadm", "kubelet"], "tool_versions": {}}, "/tools, does not have kubeadm, kubelet on this computer"),
        ({"tool_versions": {"kubeadm": "v1.36.2"}}, "has kubeadm v1.36.2; kubernetes_version is v1.36.3"),
        ({"tool_versions": {"kubectl": "Client Version: v1.35.0\nKustomize Version: v5.7.1"}}, "has kubectl v1.35.0;"),
        ({"tool_versions": {"kubelet": "Kubernetes v1.35.0"}}, "has kubelet v1.35.0;"),
        ({"tool_versions": {"kubeadm": ""}}, None),  # of another architecture than this computer's
        (
            {"service_subnet": "192.0.2.0/24"},
            "services, 192.0.2.0/24, holds addresses of machines: front (192.0.2.11)",
        ),
        ({"variables": {"pod_subnet": "2001::/16"}}, "write a network's first address and a prefix"),
        ({"tools": "", "tool_versions": {}}, None),
        ({"variables": {"site": "My Site"}}, "write the site's name"),
        ({"variables": {"site": "", "pod_subnet": None}}, "does not set site, pod_subnet"),
        ({"variables": {"pod_subnet": "10.244.0.0"}}, "write a network's first address and a prefix"),
        ({"variables": {"pod_subnet": "10.244.0.0/24"}}, "every node gets a /24 of it"),
        ({"variables": {"pod_subnet": "10.244.1.0/16"}}, "write a network's first address"),
        ({"variables": {"pod_subnet": "10.96.0.0/12"}}, "overlaps the network of services, 10.96.0.0/16"),
        ({"variables": {"pod_subnet": "192.0.0.0/16"}}, "holds addresses of machines: front (192.0.2.11)"),
        ({"variables": {"network_image": "r.example/k@sha256:" + "0" * 64}}, "still has the example's digest"),
        ({"variables": {"network_image": "r.example/k:1"}}, "network_image is r.example/k:1; name it by digest"),
        ({"variables": {"network_image": "none"}}, None),
        ({"variables": {"kubeconfig_file": "mysite.kubeconfig"}}, "write its whole path"),
    ],
)
def test_a_mistake_in_an_inventory_is_told(change, words):
    sys.path.insert(0, str(ROOT / "roles/validate_inventory/filter_plugins"))
    try:
        from inventory_mistakes import inventory_mistakes
    finally:
        sys.path.pop(0)
    told = inventory_mistakes({**GOOD, **change})
    if words is None:
        assert told == []
        return
    (mistake,) = told
    assert words in mistake


def test_the_how_to_shows_the_example_inventory():
    shown = (ROOT / "docs/how-to/make-a-cluster.md").read_text()
    for line in (ROOT / "playbooks/inventories/example.yml").read_text().splitlines()[2:]:
        assert line.strip() in shown
