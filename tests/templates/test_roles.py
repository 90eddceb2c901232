"""Roles say the same in their argument specs and their defaults, and playbooks are hosts plus roles."""

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


@pytest.mark.parametrize(
    ("inventory", "words"),
    [
        ("[control_plane]\n[workers]\nw1\n", "has 0 hosts and must have one"),
        ("[control_plane]\na\nb\n[workers]\n", "has 2 hosts and must have one"),
        ("[control_plane]\na\n[workers]\na\n", "a is in control_plane"),
        ("[control_plane]\nFront_1\n[workers]\n", "Front_1 cannot be a node name"),
    ],
)
def test_a_bad_inventory_is_refused_before_anything_is_touched(tmp_path, inventory, words):
    (tmp_path / "hosts").write_text(f"{inventory}[all:vars]\nkubernetes_version=v1.36.3\n")
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  connection: local\n  gather_facts: false\n  roles:\n    - role: validate_inventory\n"
        "      validate_inventory_control_plane: \"{{ groups['control_plane'] }}\"\n"
        "      validate_inventory_workers: \"{{ groups['workers'] }}\"\n      validate_inventory_version: v1.36.3\n"
    )
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", tmp_path / "hosts", tmp_path / "play.yml"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode != 0
    assert words in " ".join(done.stdout.split())
