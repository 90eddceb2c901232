"""What is asked of the Pulumi CLI and made of what it says, with one that says what a test has it say."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from memory_cluster import MemoryCluster

from primage.clients.cluster import Ref, Refused
from primage.components.dynamic_providers import QUEUE_CREDENTIALS
from primage.contract.names import stack_label
from primage.engine.api import Action, Options
from primage.engine.pulumi_cli import command as pulumi_command
from primage.engine.pulumi_cli import watch as pulumi_watch
from primage.engine.pulumi_cli.engine import PulumiEngine
from primage.errors import PrimageError
from primage.projects.project import StackName, parse_stack_name

FAKE = Path(__file__).parents[1] / "helpers/fake_pulumi.py"
BATCH = parse_stack_name("batch/vo.primage.eu.local--trial")
SITE = StackName("local")
URN = "urn:pulumi:x::p::kubernetes:batch/v1:Job::j"
MISSING = {"status": 255, "error": "error: no stack named 'x' found"}
NOTHING_LEFT = {"verb": ["stack", "export"], "out": '{"deployment": {}}'}
JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n"}}


def step(op="create", type_="kubernetes:batch/v1:Job", inputs=JOB, urn=URN, **more):
    return {"op": op, "urn": urn, "type": type_, "new": {"inputs": inputs}, "old": None, "detailedDiff": None, **more}


def began(**more):
    return {"resourcePreEvent": {"metadata": step(**more)}}


def ended(**more):
    return {"resOutputsEvent": {"metadata": step(**more)}}


@pytest.fixture
def pulumi(tmp_path, monkeypatch):
    """A `pulumi` on PATH that gives these answers; returns what reads how it was called."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/pulumi"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{FAKE}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_PULUMI", str(tmp_path))
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)

    def answers(*script):
        (tmp_path / "script.json").write_text(json.dumps(script))
        (tmp_path / "calls").touch()
        return lambda: [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]

    return answers


def verbs(calls):
    return [" ".join(call["arguments"][:2]).split(" --")[0] for call in calls]


def tracked_state():
    return subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout


# -- what is left alone ----------------------------------------------------------------------------------------------


def test_outputs_of_a_stack_that_is_not_there_make_none(pulumi):
    calls = pulumi({"verb": ["stack", "output"], **MISSING})
    assert PulumiEngine().outputs(BATCH) == {}
    assert verbs(calls()) == ["stack output"]


def test_a_preview_of_a_stack_that_is_not_there_makes_none_but_on_a_backend_of_its_own(pulumi):
    exported = json.dumps({"version": 3, "deployment": {}})
    calls = pulumi(
        {"verb": ["preview"], **MISSING},
        {"verb": ["stack", "export"], "out": exported},
        {"verb": ["stack"], "always": True},
        {"verb": ["preview"], "events": [began()]},
    )
    (change,) = PulumiEngine().preview(BATCH, Options()).changes
    assert (change.label, change.action) == ("Job n/j", Action.CREATE)
    here = [call for call in calls() if not call["backend"]]
    there = [call for call in calls() if call["backend"]]
    assert verbs(here) == ["preview", "stack export"]
    assert verbs(there) == ["stack init", "stack import", "stack init", "preview"]
    assert len({call["backend"] for call in there}) == 1
    assert not Path(there[0]["backend"].removeprefix("file://")).exists()


def test_an_app_is_not_previewed_where_pulumi_does_not_have_its_site(pulumi):
    pulumi({"verb": ["preview"], **MISSING}, {"verb": ["stack", "export"], **MISSING})
    with pytest.raises(PrimageError, match="Pulumi's backend does not have site local") as caught:
        PulumiEngine().preview(BATCH, Options())
    assert "primage move local --to pulumi" in caught.value.todo


def pending(ref, type_="kubernetes:core/v1:ConfigMap", **inputs):
    inputs = inputs or {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": {"name": ref.name, "namespace": ref.namespace}}
    return {"type": "creating", "resource": {"urn": f"urn::{ref.name}", "type": type_, "inputs": inputs}}


def test_what_a_killed_run_made_and_did_not_note_goes_with_the_stack(pulumi, monkeypatch):
    label = {"primage.eu/stack": stack_label(str(BATCH))}
    cluster = MemoryCluster()
    own, others, plain = (Ref("v1", "ConfigMap", name, BATCH.namespace) for name in ("own", "others", "never-made"))
    secret = Ref("v1", "Secret", "q", BATCH.namespace)
    for ref, labels in ((own, label), (others, {"primage.eu/stack": "local"}), (secret, label)):
        metadata = {"name": ref.name, "namespace": ref.namespace, "labels": labels}
        cluster.put({"apiVersion": "v1", "kind": ref.kind, "metadata": metadata})
    monkeypatch.setattr("primage.engine.pulumi_cli.engine._cluster", lambda _: cluster)
    begun = [
        pending(own),
        pending(others),
        pending(plain),
        pending(secret, QUEUE_CREDENTIALS, secret="q", namespace=BATCH.namespace),
    ]
    exported = {"deployment": {"pending_operations": begun}}
    pulumi(
        {"verb": ["destroy"], "always": True}, {"verb": ["stack", "export"], "out": json.dumps(exported)}, {"verb": ["stack", "rm"]}
    )
    PulumiEngine().destroy(BATCH, Options())
    assert cluster.deleted == [own, secret]


def test_a_destroy_of_a_stack_that_is_not_there_does_nothing(pulumi):
    calls = pulumi({"verb": ["stack", "export"], **MISSING})
    assert PulumiEngine().destroy(BATCH, Options()).changes == ()
    assert verbs(calls()) == ["stack export"]


def test_a_stack_is_made_by_up_alone_and_goes_again_when_it_cannot_be_previewed(pulumi):
    site, stack = {"verb": ["stack", "output"], "out": "{}"}, {"verb": ["stack"], "always": True}
    calls = pulumi(
        {"verb": ["stack", "export"], **MISSING}, site, stack, {"verb": ["preview"], "status": 255, "error": "error: no"}
    )
    with pytest.raises(PrimageError, match="error: no"):
        PulumiEngine().up(BATCH, Options())
    assert verbs(calls()) == ["stack export", "stack output", "stack init", "preview", "stack rm"]


def test_an_app_is_not_brought_up_where_pulumi_does_not_have_its_site(pulumi):
    calls = pulumi({"verb": ["stack", "export"], **MISSING}, {"verb": ["stack", "output"], **MISSING})
    with pytest.raises(PrimageError, match="Pulumi's backend does not have site local"):
        PulumiEngine().up(BATCH, Options())
    assert verbs(calls()) == ["stack export", "stack output"]


def test_settings_of_the_command_line_go_to_pulumi_and_not_into_the_checkout(pulumi, repository):
    before = tracked_state()
    calls = pulumi(
        {"verb": ["preview"], "events": [began(urn="planned")]},
        {"verb": ["stack", "export"], "out": '{"deployment": {}}'},
        {"verb": ["up"], "events": [began(), ended()]},
        {"verb": ["stack", "output"], "out": '{"job": "j"}'},
    )
    result = PulumiEngine().up(BATCH, Options(overrides={"job.cpu": "200m", "job.args": ["id"]}))
    assert [change.urn for change in result.changes] == [URN], "what the preview said is not told again"
    assert tracked_state() == before
    assert result.outputs == {"job": "j"}
    for call in calls():
        document = yaml.safe_load(call["settings"][f"Pulumi.{BATCH.stack}.yaml"])
        assert not call["cwd"].startswith(str(repository))
        if "output" not in call["arguments"]:
            assert document["config"]["primage-batch:job"]["cpu"] == "200m"
            assert document["config"]["primage-batch:job"]["args"] == ["id"]
        project = yaml.safe_load(call["settings"]["Pulumi.yaml"])
        assert project["main"] == str(repository / "apps/batch")
        assert Path(project["runtime"]["options"]["virtualenv"]).is_absolute()


def test_encrypted_settings_are_left_to_pulumi(pulumi, tmp_path, monkeypatch):
    (tmp_path / "infra").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("{name: primage, main: infra/, runtime: python}")
    text = {"encryptionsalt": "v1:a", "config": {"primage:token": {"secure": "v1:b"}}}
    (tmp_path / "Pulumi.local.yaml").write_text(yaml.safe_dump(text))
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(tmp_path))
    calls = pulumi({"verb": ["preview"]})
    PulumiEngine().preview(SITE, Options())
    (call,) = calls()
    assert yaml.safe_load(call["settings"]["Pulumi.local.yaml"]) == text


# -- what is told ----------------------------------------------------------------------------------------------------


def test_changes_are_told_field_by_field_with_secrets_masked(pulumi):
    old = {"inputs": {**JOB, "spec": {"containers": [{"image": "a"}], "x": {"a.b/c": 1}}}}
    new = {"inputs": {**JOB, "spec": {"containers": [{"image": "b"}], "x": {}}}}
    paths = {"spec.containers[0].image": {"diffKind": "update"}, 'spec.x["a.b/c"]': {"diffKind": "delete"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "data": {"k": "hunter2"}}
    events = [
        {"resourcePreEvent": {"metadata": {**step(op="update"), "old": old, "new": new, "detailedDiff": paths}}},
        began(
            op="update",
            type_="kubernetes:core/v1:Secret",
            urn="s",
            inputs=secret,
            detailedDiff={"data.k": {"diffKind": "update"}},
            old={"inputs": secret},
        ),
        began(op="create", type_="pulumi:providers:kubernetes", urn="p", inputs={}),
    ]
    pulumi({"verb": ["preview"], "events": events})
    job, masked = PulumiEngine().preview(SITE, Options(overrides={})).changes
    assert {(f.path, f.before, f.after) for f in job.fields} == {
        ("spec.containers[0].image", "a", "b"),
        ('spec.x["a.b/c"]', 1, None),
    }
    assert [(f.before, f.after) for f in masked.fields] == [("[secret]", "[secret]")]


def test_a_failure_names_the_object_in_pulumis_own_words(pulumi):
    said = {"diagnosticEvent": {"severity": "error", "urn": URN, "message": "<{%reset%}>no image<{%reset%}>\n"}}
    pulumi(NOTHING_LEFT, {"verb": ["preview"]}, {"verb": ["up"], "events": [began(), said], "status": 255})
    with pytest.raises(PrimageError, match="Job n/j: no image"):
        PulumiEngine().up(SITE, Options())


def test_a_failure_without_events_is_told_by_its_last_lines(pulumi):
    pulumi({"verb": ["preview"], "status": 255, "error": "error: passphrase must be set"})
    with pytest.raises(PrimageError, match="passphrase must be set"):
        PulumiEngine().preview(SITE, Options())


class Cluster:
    """One on which a job waits for a volume that cannot be mounted."""

    def get(self, _ref):
        return {**JOB, "spec": {}, "status": {"active": 1}}

    def list(self, _version, kind, *_, **__):
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "j-1", "namespace": "n", "creationTimestamp": "1"}}
        event = {"reason": "FailedMount", "message": "no such share", "lastTimestamp": "1"}
        return {"Pod": [{**pod, "status": {"phase": "Pending"}}], "Event": [event]}.get(kind, [])


@pytest.fixture
def stuck(monkeypatch):
    monkeypatch.setattr("primage.engine.pulumi_cli.engine._cluster", lambda _: Cluster())
    monkeypatch.setattr(pulumi_watch, "LOOK_S", 0.2)


def test_why_a_job_waits_is_told_while_it_waits_and_its_time_is_kept(pulumi, stuck, tmp_path):
    seen = []
    pulumi(NOTHING_LEFT, {"verb": ["preview"]}, {"verb": ["up"], "events": [began()], "hang": True})
    with pytest.raises(PrimageError, match=r"Job n/j is not ready after 2 s: .*no such share"):
        PulumiEngine().up(SITE, Options(timeout_s=2, listener=seen.append))
    assert [event.state for event in seen][:2] == ["creating", "waiting"]
    assert "a volume cannot be mounted: no such share" in seen[1].detail
    assert (tmp_path / "interrupted").exists(), "Pulumi is asked to stop, so that it notes what it was at"


def test_a_job_whose_pods_could_never_be_made_is_refused_before_pulumi_replaces_it(pulumi, monkeypatch):
    class Small(Cluster):
        def apply(self, obj, *, manager, dry_run):
            assert (obj["kind"], dry_run) == ("Pod", True)
            asked = "requested: limits.cpu=5, used: limits.cpu=0, limited: limits.cpu=4"
            raise Refused(403, "Forbidden", f"exceeded quota: vo, {asked}")

    monkeypatch.setattr("primage.engine.pulumi_cli.engine._cluster", lambda _: Small())
    planned = {"inputs": {**JOB, "spec": {"template": {"spec": {"containers": []}}}}}
    calls = pulumi(NOTHING_LEFT, {"verb": ["preview"], "events": [began(op="create-replacement", new=planned)]})
    with pytest.raises(PrimageError, match=r"n/j can never run: it asks for 5 of limits\.cpu, .* quota is 4"):
        PulumiEngine().up(SITE, Options())
    assert "up" not in verbs(calls())


def test_a_failure_that_pulumis_provider_does_not_notice_ends_the_wait(pulumi, stuck, monkeypatch, tmp_path):
    failed = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "it failed with status 3"}
    monkeypatch.setattr(Cluster, "get", lambda *_: {**JOB, "spec": {}, "status": {"failed": 1, "conditions": [failed]}})
    monkeypatch.setattr(pulumi_watch, "FAILED_S", 0.5)
    pulumi(NOTHING_LEFT, {"verb": ["preview"]}, {"verb": ["up"], "events": [began()], "hang": True})
    with pytest.raises(PrimageError, match=r"Job n/j failed: .*status 3") as caught:
        PulumiEngine().up(SITE, Options(timeout_s=600))
    assert "correct the cause" in caught.value.todo
    assert (tmp_path / "interrupted").exists()


def test_an_objects_own_time_is_longer_than_that_of_the_command_line(pulumi, stuck, monkeypatch):
    annotated = {**JOB, "metadata": {**JOB["metadata"], "annotations": {"pulumi.com/timeoutSeconds": "3"}}}
    monkeypatch.setattr(pulumi_watch, "PROVIDER_ENDS_S", 0)
    pulumi(NOTHING_LEFT, {"verb": ["preview"]}, {"verb": ["up"], "events": [began(inputs=annotated)], "hang": True})
    with pytest.raises(PrimageError, match="not ready after 3 s"):
        PulumiEngine().up(SITE, Options(timeout_s=1))


def test_a_pulumi_that_says_nothing_is_not_waited_for_without_end(pulumi, monkeypatch):
    monkeypatch.setattr(pulumi_watch, "SILENT_S", 1.0)
    pulumi({"verb": ["preview"], "hang": True})
    with pytest.raises(PrimageError, match="Pulumi has said nothing for 1 s"):
        PulumiEngine().preview(SITE, Options())


def test_an_operation_that_is_given_up_has_pulumi_stop(pulumi, tmp_path):
    given_up = threading.Event()
    pulumi(NOTHING_LEFT, {"verb": ["preview"]}, {"verb": ["up"], "events": [began()], "hang": True})
    with pytest.raises(PrimageError, match="given up"):
        PulumiEngine().up(SITE, Options(listener=lambda _: given_up.set(), given_up=given_up))
    assert (tmp_path / "interrupted").exists()


def test_the_empty_stack_of_a_failed_preview_that_cannot_be_removed_hides_no_cause(pulumi):
    pulumi(
        {"verb": ["stack", "export"], **MISSING},
        {"verb": ["stack", "init"]},
        {"verb": ["preview"], "status": 255, "error": "error: the cause"},
        {"verb": ["stack", "rm"], "status": 255, "error": "error: locked"},
    )
    with pytest.raises(PrimageError, match="the cause") as caught:
        PulumiEngine().up(SITE, Options())
    assert "stays in Pulumi's backend" in caught.value.__notes__[0]


def test_a_pulumi_that_does_not_stop_is_killed(pulumi, monkeypatch, tmp_path):
    monkeypatch.setattr(pulumi_watch, "SILENT_S", 1.0)
    monkeypatch.setattr(pulumi_command, "STOP_S", 1)
    pulumi({"verb": ["preview"], "hang": True, "deaf": True})
    with pytest.raises(PrimageError, match="said nothing"):
        PulumiEngine().preview(SITE, Options())
    assert not (tmp_path / "interrupted").exists()


# -- locks -----------------------------------------------------------------------------------------------------------


def locked(pid, host):
    line = f"file:///x/.pulumi/locks/a.json: created by root@{host} (pid {pid}) at 2026-01-01T00:00:00Z"
    return {"status": 255, "error": f"error: the stack is currently locked by 1 lock(s). Either wait or …\n  {line}"}


def dead_process():
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


@pytest.mark.parametrize("holder", ["alive here", "another user's here", "dead elsewhere"])
def test_a_lock_that_may_be_held_is_left_and_said_what_to_do_about(pulumi, holder):
    here = socket.gethostname()
    pid, host = {
        "alive here": (os.getpid(), here),
        "another user's here": (1, here),
        "dead elsewhere": (dead_process(), "another-machine"),
    }[holder]
    calls = pulumi(NOTHING_LEFT, {"verb": ["preview"]}, {"verb": ["up"], **locked(pid, host)})
    with pytest.raises(PrimageError, match=f"another run holds stack local: root on {host}, process {pid}") as caught:
        PulumiEngine().up(SITE, Options())
    assert "cancel --stack local" in caught.value.todo
    assert verbs(calls()) == ["stack export", "preview", "up"]


def test_the_lock_of_a_run_that_was_killed_here_is_taken_away(pulumi):
    seen = []
    calls = pulumi(
        NOTHING_LEFT,
        {"verb": ["preview"]},
        {"verb": ["up"], **locked(dead_process(), socket.gethostname())},
        {"verb": ["cancel"]},
        {"verb": ["up"], "events": [began(), ended()]},
        {"verb": ["stack", "output"], "out": "{}"},
    )
    assert PulumiEngine().up(SITE, Options(listener=seen.append)).counts() == {"create": 1}
    assert verbs(calls()) == ["stack export", "preview", "up", "cancel", "up", "stack output"]
    assert "was killed" in seen[0].detail
