"""The standing site: what the roles promise."""

from pathlib import Path

import pytest
from machine import output_on

from primage.clients.cluster import Ref
from primage.contract import names
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.projects.project import parse_stack_name

pytestmark = pytest.mark.quiet

ROOT = Path(__file__).resolve().parents[2]


def on(machine, *command):
    return output_on(f"primage-local-{machine}", *command, timeout_s=120)


def test_secrets_are_encrypted_at_rest(site, cluster):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "at-rest", "namespace": "default"}}
    cluster.apply({**secret, "stringData": {"key": "find-me-in-the-clear"}}, manager="test")
    plain = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "at-rest", "namespace": "default"}}
    cluster.apply({**plain, "data": {"key": "find-me-as-a-control"}}, manager="test")
    found = on("front", "sh", "-c", "grep -rac find-me-as-a-control /var/lib/etcd/member | awk -F: '{n+=$2} END {print n}'")
    assert int(found) > 0, "the control is not found, so the next line would prove nothing"
    found = on("front", "sh", "-c", "grep -rac find-me-in-the-clear /var/lib/etcd/member | awk -F: '{n+=$2} END {print n}'")
    assert int(found) == 0
    cluster.delete(Ref.of(secret))
    cluster.delete(Ref.of(plain))


def test_the_audit_log_says_who_and_never_a_secrets_content(site, cluster):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "audited", "namespace": "default"}}
    cluster.apply({**secret, "stringData": {"key": "not-in-the-log"}}, manager="test")
    cluster.delete(Ref.of(secret))
    assert int(on("front", "sh", "-c", 'grep -c \'"name":"audited"\' /var/log/kubernetes/audit.log')) > 0
    assert on("front", "sh", "-c", "cat /var/log/kubernetes/audit*.log | grep -c not-in-the-log || true").strip() == "0"


def test_certificates_are_looked_at_daily(site):
    assert on("front", "systemctl", "is-enabled", "kubernetes-certificates.timer").strip() == "enabled"
    on("front", "systemctl", "start", "kubernetes-certificates.service")


def test_no_machine_has_a_failed_unit(site):
    for machine in ("front", "worker-1"):
        assert on(machine, "systemctl", "list-units", "--state=failed", "--no-legend").strip() == ""


READ_OTHER = """
set -u
ls /primage/HOME/shared /primage/HOME/private >/dev/null || exit 3
! cat /primage/HOME/shared/../../vo.primage.eu/shared/theirs 2>/dev/null || exit 4
! find / -name theirs -not -path '/proc/*' 2>/dev/null | grep -q . || exit 5
"""


def test_one_vo_does_not_see_anothers_files_and_a_runs_state_is_a_secret_in_its_own_namespace(site, cluster):
    theirs = Path("/var/lib/primage/local/shared/home/vo.primage.eu/shared/theirs")
    theirs.write_text("private to the VO")
    try:
        for vo, script in (("vo.primage.eu", "cat /primage/HOME/shared/theirs"), ("training.primage.eu", READ_OTHER)):
            name = parse_stack_name(f"batch/{vo}.local--isolation")
            job = {
                "name": "look",
                "image": "primage/base:1",
                "command": ["sh", "-c", script],
                "cpu": "50m",
                "memory": "32Mi",
                "backoff_limit": 0,
            }
            EmbeddedEngine().up(name, Options(overrides={"job": job}))
            state = Ref("v1", "Secret", "primage-state.batch.isolation", names.namespace_for(vo))
            assert cluster.get(state)["type"] == "primage.eu/state"
            assert EmbeddedEngine().up(name, Options(overrides={"job": job})).changed() == []
            EmbeddedEngine().destroy(name, Options())
            assert cluster.get(state) is None
    finally:
        theirs.unlink()


def test_another_vos_volume_cannot_be_claimed(site, cluster):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "thief", "namespace": "training-dot-primage-dot-eu"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": "vo-dot-primage-dot-eu.home-shared",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    cluster.apply(claim, manager="test")
    phases = [current["status"].get("phase") for current in cluster.watch(Ref.of(claim), timeout_s=6) if current]
    cluster.delete(Ref.of(claim))
    assert phases
    assert "Bound" not in phases
