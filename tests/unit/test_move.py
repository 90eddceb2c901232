"""What is handed to Pulumi of a stack in a cluster in memory, and what is refused."""

import json
import os
import sys
from pathlib import Path

import pytest
from memory_cluster import MemoryCluster

from primage.clients.cluster import Ref
from primage.components import generated_secret
from primage.engine.api import Options
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.embedded.state import Dynamic, StackState, Status
from primage.engine.embedded.stores import FileStore, SecretStore
from primage.engine.embedded.values import SIGNATURE
from primage.engine.move import move_to_pulumi
from primage.engine.moved import aside
from primage.engine.recorder import marked
from primage.errors import PrimageError
from primage.paths import state_dir
from primage.projects.project import StackName, parse_stack_name

FAKE = Path(__file__).parents[1] / "helpers/fake_pulumi.py"
HTC = parse_stack_name("htc/vo.primage.eu.local--trial")
BATCH = parse_stack_name("batch/vo.primage.eu.local")
SPACE = "vo-dot-primage-dot-eu"
MISSING = {"status": 255, "error": "error: no stack named 'x' found"}
EMPTY = {"out": json.dumps({"version": 3, "deployment": {"secrets_providers": {"type": "passphrase"}}})}
SECRET = "1b47061264138c4ac30d75fd1eb44270"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A site that is up on a cluster in memory, and a `pulumi` without any stack but the site's."""
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FAKE_PULUMI", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/pulumi").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{FAKE}" "$@"\n')
    (tmp_path / "bin/pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    found = MemoryCluster()
    monkeypatch.setattr(Clusters, "at", lambda *_: found)
    monkeypatch.setattr(generated_secret, "Cluster", lambda *_: found)
    outputs = EmbeddedEngine().offline_outputs(StackName("local"), Options())
    FileStore(state_dir() / "primage/local.json", StackName("local")).save(StackState("local", outputs=outputs))
    return found


@pytest.fixture
def pulumi(tmp_path):
    """Says what Pulumi answers to the move's last question, and reads what it was given."""

    def answers(*events, **more):
        script = [
            {"verb": ["stack", "export"], **MISSING},
            {"verb": ["stack", "export"], **EMPTY},
            {"verb": ["preview"], "events": events},
            {"verb": ["stack"], "always": True},
        ]
        (tmp_path / "script.json").write_text(json.dumps(script))
        (tmp_path / "calls").touch()
        return lambda: [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]

    return answers


def imported(calls):
    call = next(call for call in calls if call["arguments"][1] == "import")
    return {resource["urn"].partition("::")[2]: resource for resource in json.loads(call["file"])["deployment"]["resources"]}


def forgotten(calls):
    return any(call["arguments"][:2] == ["stack", "rm"] for call in calls)


def test_a_stack_is_handed_over_with_its_objects_components_and_secrets(cluster, pulumi):
    engine = EmbeddedEngine()
    engine.up(HTC, Options())
    before = dict(cluster.objects)
    calls = pulumi()
    moved = move_to_pulumi(HTC, Options())
    resources = imported(calls())
    application = "primage-htc::primage:app:HtcApplication"
    server = resources[f"{application}$primage:app:Queue$kubernetes:apps/v1:StatefulSet::words-trial-queue-server"]
    live = cluster.objects[Ref("apps/v1", "StatefulSet", "words-trial-queue", SPACE)]
    assert (server["id"], server["outputs"]["metadata"]["uid"]) == (f"{SPACE}/words-trial-queue", live["metadata"]["uid"])
    assert server["outputs"]["__fieldManager"] == "primage:primage-htc/vo.primage.eu.local--trial"
    assert server["inputs"] == server["outputs"]["__inputs"]
    provider = resources["primage-htc::pulumi:providers:kubernetes::cluster"]
    assert server["provider"] == f"{provider['urn']}::{provider['id']}"
    credentials = next(resource for resource in resources.values() if resource["type"].endswith("QueueCredentials"))
    assert credentials["inputs"]["__provider"]["4dabf18193072939515e22adb298388d"] == SECRET
    assert credentials["urn"] in server["dependencies"]
    assert resources["primage-htc::pulumi:pulumi:Stack::primage-htc-" + HTC.stack]["outputs"]["queue"] == "words-trial"
    order = list(resources.values())
    places = {resource["urn"]: index for index, resource in enumerate(order)}
    assert all(places[urn] < index for index, resource in enumerate(order) for urn in resource.get("dependencies", []))
    assert moved.objects == sum(resource["type"].startswith("kubernetes:") for resource in order)
    state = Ref("v1", "Secret", "primage-state.htc.trial", SPACE)
    assert {ref: obj for ref, obj in before.items() if ref != state} == cluster.objects, "no object is touched"
    assert not forgotten(calls())


def test_code_in_a_state_that_a_tenant_wrote_is_not_handed_to_pulumi(cluster, pulumi, monkeypatch):
    engine = EmbeddedEngine()
    engine.up(HTC, Options())
    load = SecretStore.load

    def hostile(store):
        state = load(store)
        for urn, entry in state.resources.items():
            if entry.dynamic:
                outputs = {**entry.dynamic.outputs, "__provider": "of a tenant", "namespace": "elsewhere"}
                theirs = Dynamic.model_construct(id=entry.dynamic.id, inputs=entry.dynamic.inputs, outputs=outputs)
                state.resources[urn] = entry.model_copy(update={"dynamic": theirs})
        return state

    monkeypatch.setattr(SecretStore, "load", hostile)
    calls = pulumi()
    move_to_pulumi(HTC, Options())
    made = [resource for resource in imported(calls()).values() if "__provider" in resource.get("outputs", {})]
    assert len(made) == 1
    assert made[0]["outputs"]["__provider"] == made[0]["inputs"]["__provider"]
    assert made[0]["outputs"]["namespace"] == SPACE
    assert made[0]["outputs"]["generation"]
    assert Dynamic(outputs={"__provider": "of a tenant", "generation": "1"}).outputs == {"generation": "1"}


@pytest.mark.parametrize("value", [{SIGNATURE: SECRET}, {"data": [{"a": {SIGNATURE: "x"}}]}])
def test_marks_that_only_pulumi_makes_are_refused_in_what_others_wrote(value):
    with pytest.raises(PrimageError, match="only Pulumi may use"):
        marked(value, frozenset())


def test_what_was_moved_is_kept_aside_and_the_embedded_engine_refuses_it(cluster, pulumi):
    engine = EmbeddedEngine()
    engine.up(BATCH, Options())
    kept = (state_dir() / f"primage-batch/{BATCH.stack}.json").read_bytes()
    pulumi()
    moved = move_to_pulumi(BATCH, Options())
    assert json.loads(Path(moved.kept).read_bytes())["resources"] == json.loads(kept)["resources"]
    assert Path(moved.kept).stat().st_mode & 0o777 == 0o600
    for verb in ("preview", "up", "destroy"):
        with pytest.raises(PrimageError, match="was moved to Pulumi's engine") as caught:
            getattr(engine, verb)(BATCH, Options())
        assert caught.value.where == moved.kept


def test_apps_of_a_site_that_was_moved_still_know_what_it_offers(cluster, pulumi):
    (state_dir() / "primage/local.json").rename(aside(StackName("local")))
    assert EmbeddedEngine().up(BATCH, Options()).counts() == {"create": 1}


def test_a_difference_that_pulumi_sees_is_refused_and_nothing_is_changed(cluster, pulumi):
    engine = EmbeddedEngine()
    engine.up(BATCH, Options())
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "hello", "namespace": SPACE}}
    step = {"op": "update", "urn": "u", "type": "kubernetes:batch/v1:Job", "new": {"inputs": job}, "detailedDiff": {"spec.x": {}}}
    calls = pulumi({"resourcePreEvent": {"metadata": step}})
    with pytest.raises(PrimageError, match=rf"Job {SPACE}/hello: update spec.x"):
        move_to_pulumi(BATCH, Options())
    assert forgotten(calls()), "Pulumi does not keep half a stack"
    assert engine.preview(BATCH, Options()).changed() == []


def change_state(change):
    store = FileStore(state_dir() / f"primage-batch/{BATCH.stack}.json", BATCH)
    state = store.load()
    change(state.resources)
    store.save(state)


def unfinished(cluster, resources):
    urn, entry = next(iter(resources.items()))
    resources[urn] = entry.model_copy(update={"status": Status.APPLYING})


def no_more_declared(cluster, resources):
    urn, entry = next(iter(resources.items()))
    other = entry.model_copy(update={"urn": f"{urn}-old", "ref": Ref("v1", "ConfigMap", "old", SPACE), "digest": ""})
    resources[f"{urn}-old"] = other


def gone(cluster, resources):
    urn, entry = next(iter(resources.items()))
    del cluster.objects[entry.ref]
    resources[urn] = entry.model_copy(update={"digest": ""})


def anothers(cluster, resources):
    (entry,) = resources.values()
    cluster.objects[entry.ref]["metadata"]["labels"]["primage.eu/stack"] = "local"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (unfinished, r"Job .*hello \(applying\)"),
        (no_more_declared, "ConfigMap .*old is up, and has left the program"),
        (gone, "Job .*hello is not there any more"),
        (anothers, "Job .*hello is not this stack's"),
    ],
)
def test_what_cannot_be_moved_is_refused_by_name_before_pulumi_knows_of_it(cluster, pulumi, change, why):
    EmbeddedEngine().up(BATCH, Options())
    change_state(lambda resources: change(cluster, resources))
    calls = pulumi()
    with pytest.raises(PrimageError, match=why):
        move_to_pulumi(BATCH, Options())
    assert not [call for call in calls() if call["arguments"][:2] == ["stack", "init"]]
    assert not aside(BATCH).exists()


def test_a_stack_that_is_not_up_is_refused(cluster, pulumi):
    pulumi()
    with pytest.raises(PrimageError, match="there is nothing to move"):
        move_to_pulumi(BATCH, Options())


def test_a_stack_that_pulumi_has_already_is_refused(cluster, pulumi, tmp_path):
    EmbeddedEngine().up(BATCH, Options())
    known = {"deployment": {"resources": [{"urn": "u"}]}}
    (tmp_path / "script.json").write_text(json.dumps([{"verb": ["stack", "export"], "out": json.dumps(known)}]))
    with pytest.raises(PrimageError, match=r"has a stack vo.primage.eu.local of this project already, with 1 resources"):
        move_to_pulumi(BATCH, Options())


def test_an_app_whose_site_is_not_moved_is_refused(cluster, pulumi, tmp_path):
    EmbeddedEngine().up(BATCH, Options())
    script = [{"verb": ["stack", "export"], **MISSING}, {"verb": ["stack", "output"], **MISSING}]
    (tmp_path / "script.json").write_text(json.dumps(script))
    with pytest.raises(PrimageError, match="Pulumi's backend does not have site local") as caught:
        move_to_pulumi(BATCH, Options())
    assert "primage move local --to pulumi" in caught.value.todo
