"""What a launching process does: as `primage up` and `destroy`, but that it ends once everything is on the cluster."""

import pytest
from memory_cluster import MemoryCluster

from portal import launcher
from portal.domain.launch import Work
from primage.clients.cluster import Ref
from primage.components import generated_secret
from primage.components.certificates import new_authority
from primage.engine.api import Options
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.engine import EmbeddedEngine
from primage.projects.project import parse_stack_name

SPACE = "member1-at-primage-dot-eu"
BATCH = {"name": "hello", "image": "primage/base:1", "cpu": "50m", "memory": "32Mi"}
CONSUMER = {"image": "primage/base:1", "command": ["echo"]}
HTC = {"name": "words", "producer": {"arguments": ["one", "two"]}, "consumer": CONSUMER}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path / "home"))
    found = MemoryCluster()
    monkeypatch.setattr(Clusters, "at", lambda *_: found)
    monkeypatch.setattr(generated_secret, "Cluster", lambda *_: found)
    monkeypatch.setattr("primage.components.login_secrets.authority_in", lambda _: new_authority("here"))
    metadata = {"name": "vo-dot-primage-dot-eu", "labels": {"primage.eu/stack": "local", "primage.eu/made-by": "site"}}
    found.put({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return found


@pytest.fixture
def ends(cluster, monkeypatch):
    """What was on the cluster at each end of the process; here it goes on."""
    seen = []
    monkeypatch.setattr(launcher.os, "_exit", lambda status: seen.append((status, set(cluster.objects))))
    return seen


def stack(app):
    return f"{app}/{SPACE}_vo.primage.eu.local--mine"


@pytest.mark.parametrize(
    ("app", "setting", "settings", "jobs"),
    [("batch", "job", BATCH, {"hello-mine"}), ("htc", "htc", HTC, {"words-mine-producer", "words-mine-consumers"})],
)
def test_it_ends_when_everything_that_the_program_declares_is_on_the_cluster(cluster, ends, capfd, app, setting, settings, jobs):
    launcher._up(Work(stack=stack(app), setting=setting, settings=settings), EmbeddedEngine())
    ((status, there),) = ends
    assert status == 0
    assert {ref.name for ref in there if ref.kind == "Job"} == jobs
    assert {ref.namespace for ref in there if ref.kind == "Job"} == {SPACE}
    everything = {ref for ref in cluster.objects if ref.kind != "Secret"}
    assert everything <= there, "nothing came later but the state"
    assert '"ok":true' in capfd.readouterr().out


def test_a_run_that_is_there_already_is_left_as_it_is(cluster, ends):
    work = Work(stack=stack("batch"), setting="job", settings=BATCH)
    launcher._up(work, EmbeddedEngine())
    before = dict(cluster.objects)
    ends.clear()
    launcher._up(work, EmbeddedEngine())
    assert ends == [], "there was nothing to wait for"
    assert cluster.objects.keys() == before.keys()


def test_what_it_has_started_is_taken_away_by_whoever_has_the_stack(cluster, ends):
    launcher._up(Work(stack=stack("htc"), setting="htc", settings=HTC), EmbeddedEngine())
    EmbeddedEngine().destroy(parse_stack_name(stack("htc")), Options())
    assert [ref for ref in cluster.objects if ref.namespace == SPACE] == []
    assert Ref("v1", "Namespace", "vo-dot-primage-dot-eu") in cluster.objects
