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
        assert set(play) <= {"name", "hosts", "connection", "serial", "strategy", "roles", "tasks"}
        assert ("roles" in play) != ("tasks" in play)
        assert all(set(task) <= {"name", "ansible.builtin.import_role", "vars", "when"} for task in play.get("tasks", []))


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_pass_the_syntax_check(playbook):
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [program, "-i", "playbooks/inventories/local.yml", "--syntax-check", playbook]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


FRONT = "front: {ansible_host: 192.0.2.11}"


@pytest.mark.parametrize(
    ("pattern", "instead", "words"),
    [
        ("^$", "", "ok="),
        ("(?m)^ *(pod_subnet|kubeconfig_file): .*$", "", "does not set pod_subnet, kubeconfig_file"),
        ("(?m)^ *site: .*$", "", "does not set site"),
        ("(?m)^ *tools_directory: .*$", "", "does not set tools_directory"),
        ("(?m)v1[.]36[.]3$", "1.36", "write a full version"),
        (FRONT, "", "has 0 hosts and must have one"),
        (FRONT, f"{FRONT}\n            second: {{ansible_host: 192.0.2.14}}", "has 2 hosts and must have one"),
        ("worker-1: ", "front: ", "front is in control_plane"),
        ("worker-1: ", "Worker_1: ", "Worker_1 cannot be a node name"),
        ("    cluster:", "    others:", "must hold the groups"),
        ("10.244.0.0/16", "10.244.0.0", "write an address and a prefix"),
        ("10.244.0.0/16", "10.244.0.0/24", "every node gets a /24 of it"),
        ("1{64}", "0" * 64, "still has the example's digest"),
        ("(?m)(tools_directory: ).*$", r"\1/nowhere", "does not have kubeadm, kubectl, kubelet on this computer"),
        ("(?m)(tools_directory: ).*$", "\\1/nowhere\n    tools_on_machine: true", "ok="),
    ],
)
def test_an_inventory_is_checked_before_a_machine_is_touched(tmp_path, pattern, instead, words):
    """The example, once a reader has the tools and the digest that it asks for, and with one thing amiss."""
    text = (ROOT / "playbooks/inventories/example.yml").read_text()
    for name in ("kubeadm", "kubectl", "kubelet"):
        (tmp_path / name).touch()
    finished = text.replace("/opt/kubernetes/v1.36.3", str(tmp_path)).replace("0" * 64, "1" * 64)
    (tmp_path / "mysite.yml").write_text(re.sub(pattern, instead, finished))
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [program, "-i", tmp_path / "mysite.yml", "playbooks/create-cluster.yml", "--tags", "validate_inventory"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert words in " ".join(done.stdout.split()), done.stdout
    assert (done.returncode == 0) == (words == "ok=")


def test_the_how_to_shows_the_example_inventory():
    shown = (ROOT / "docs/how-to/make-a-cluster.md").read_text()
    for line in (ROOT / "playbooks/inventories/example.yml").read_text().splitlines()[2:]:
        assert line.strip() in shown
