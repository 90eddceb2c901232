"""What the applier does about one declaration, what it writes down, and what it never does."""

import pytest
from declared import HERE, config_map, declared, declared_dynamic, job
from memory_cluster import MemoryCluster

from primage.components.dynamic_providers import SESSION_TOKEN
from primage.engine.api import Action, Options
from primage.engine.embedded.applier import Applier
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.failures import Failures
from primage.engine.embedded.ledger import Ledger
from primage.engine.embedded.planner import Planner
from primage.engine.embedded.removal import Remover
from primage.engine.embedded.state import StackState, Status
from primage.engine.ownership import Owner, Scope
from primage.errors import PrimageError
from primage.projects.project import StackName

OWNER = Owner(StackName("tiny"), "primage:primage/tiny", "tiny")


class Store:
    """Keeps what was saved, each time: the status of every resource by its name."""

    where = "memory"

    def __init__(self):
        self.saved = []

    def save(self, state):
        self.saved.append({entry.name: str(entry.status) for entry in state.resources.values()})


@pytest.fixture
def cluster(monkeypatch):
    found = MemoryCluster()
    monkeypatch.setattr(Clusters, "at", lambda *_: found)
    return found


@pytest.fixture
def applier(cluster):
    state, told = StackState("tiny"), []
    clusters, options = Clusters(), Options(listener=told.append, timeout_s=5)
    remover = Remover(OWNER, Scope(), HERE, clusters, options.listener, 5)
    found = Applier(
        planner=Planner(OWNER, state, clusters),
        ledger=Ledger(state, Store()),
        remover=remover,
        clusters=clusters,
        protected_kinds=frozenset({"Namespace"}),
        options=options,
        failures=Failures(),
    )
    found.told = told
    return found


def saved(applier):
    return applier.ledger._store.saved


def test_an_object_is_written_down_before_and_after_it_is_sent(applier, cluster):
    given = declared(config_map(a="b"))
    assert applier.take_object(given).id == "n/c"
    assert saved(applier) == [{"c": "applying"}, {"c": "ready"}]
    assert [event.state for event in applier.told if event.label == given.label][-1] == "ready"
    assert applier.changes[given.urn].action is Action.CREATE
    assert applier.timings[given.label]["submitted"] <= applier.timings[given.label]["ready"]
    assert given.ref in cluster.objects


def test_what_is_the_same_is_neither_sent_nor_written_down_again(applier, cluster):
    given = declared(config_map(a="b"))
    applier.take_object(given)
    written, count = [*cluster.written], len(saved(applier))
    applier.planner.changes.clear()
    applier.take_object(given)
    assert applier.changes[given.urn].action is Action.SAME
    assert (cluster.written, len(saved(applier))) == (written, count)


def test_what_is_being_deleted_is_waited_for_and_made_again(applier, cluster, monkeypatch):
    """Deleted with its dependants first it stays for a while, and takes whatever is applied to it along."""
    given = declared(config_map(a="b"))
    applier.take_object(given)
    cluster.objects[given.ref]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    before = cluster.objects[given.ref]["metadata"]["uid"]

    def goes(ref, *, timeout_s):
        cluster.objects.pop(ref)
        yield None

    monkeypatch.setattr(cluster, "watch", goes)
    applier.planner.changes.clear()
    applier.take_object(given)
    assert applier.changes[given.urn].action is Action.CREATE
    assert "deletionTimestamp" not in cluster.objects[given.ref]["metadata"]
    assert cluster.objects[given.ref]["metadata"]["uid"] != before


def test_a_failure_is_written_down(applier, cluster, monkeypatch):
    def fail(*_, dry_run, **__):
        if not dry_run:
            raise PrimageError("the server is gone")

    monkeypatch.setattr(cluster, "apply", lambda obj, *, dry_run=False, **how: fail(obj, dry_run=dry_run))
    with pytest.raises(PrimageError, match="the server is gone"):
        applier.take_object(declared(config_map()))
    assert saved(applier)[-1] == {"c": "failed"}


@pytest.mark.parametrize("how", ["by the program", "by the last up", "by its kind"])
def test_what_is_protected_is_not_replaced(applier, cluster, how):
    given = declared(job(), protect=how == "by the program")
    if how == "by its kind":
        applier.protected_kinds = frozenset({"Job"})
    ref = cluster.put(given.obj, manager=OWNER.manager)
    cluster.objects[ref]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    if how == "by the last up":
        applier.ledger.note_object(declared(job(), protect=True), Status.READY)
    with pytest.raises(PrimageError, match="is protected and would have to be replaced"):
        applier.take_object(given)
    assert cluster.deleted == []


def test_a_job_that_failed_is_deleted_and_made_again(applier, cluster):
    ref = cluster.put(job(), manager=OWNER.manager)
    cluster.objects[ref]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    uid = cluster.objects[ref]["metadata"]["uid"]
    applier.take_object(declared(job()))
    assert cluster.deleted == [ref]
    assert cluster.objects[ref]["metadata"]["uid"] != uid


class Provider:
    """Makes what it is asked for, or fails."""

    def __init__(self, error=None):
        self._error = error

    def check(self, old, new):
        return type("Checked", (), {"failures": []})

    def create(self, inputs):
        assert "__provider" not in inputs
        if self._error:
            raise self._error
        return type("Made", (), {"id": "x", "outs": {"secret": "s"}})


def dynamic(provider):
    inputs = {"namespace": "n", "password": "hunter2", "kubeconfig": "/k", "__provider": "pickled"}
    return declared_dynamic(inputs, provider, SESSION_TOKEN, name="token", secrets=[("password",)])


def test_a_dynamic_resource_is_kept_without_its_secrets_and_without_the_way_to_the_cluster(applier):
    given = dynamic(Provider())
    assert applier.take_dynamic(given).properties["secret"] == "s"
    kept = applier.ledger.entry(given.urn).dynamic
    assert (kept.id, kept.inputs, kept.outputs) == ("x", {"namespace": "n", "password": "[secret]"}, {"secret": "s"})
    assert saved(applier) == [{"token": "applying"}, {"token": "ready"}]


@pytest.mark.parametrize(
    ("error", "words"), [(ValueError("no"), "token failed in its provider: ValueError: no"), (PrimageError("not so"), "^not so")]
)
def test_a_provider_that_fails_is_named_and_the_failure_written_down(applier, error, words):
    with pytest.raises(PrimageError, match=words):
        applier.take_dynamic(dynamic(Provider(error)))
    assert saved(applier)[-1] == {"token": "failed"}
