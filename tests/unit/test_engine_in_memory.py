"""What the embedded engine decides, on a cluster in memory: whose things are, what is protected, what is refused."""

import base64
import gzip
import json
from pathlib import Path

import pytest
import yaml
from memory_cluster import MemoryCluster

from primage.clients.cluster import Ref
from primage.components import generated_secret
from primage.components.dynamic_providers import PROVIDERS, QUEUE_CREDENTIALS
from primage.engine.api import Action, Options
from primage.engine.embedded.clusters import Clusters
from primage.engine.embedded.declaration import digest
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.embedded.state import StackState
from primage.engine.embedded.stores import FileStore
from primage.errors import ExitCode, PrimageError
from primage.paths import state_dir
from primage.projects.project import StackName, parse_stack_name

SPACE = "vo-dot-primage-dot-eu"
OTHER_SPACE = "training-dot-primage-dot-eu"
BATCH = parse_stack_name("batch/vo.primage.eu.local--trial")
HTC = parse_stack_name("htc/vo.primage.eu.local--old")
NOTEBOOK = parse_stack_name("notebook/vo.primage.eu.local--old")
STATES = Path(__file__).parent / "states"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster, reached by whatever the site's own settings say, and nothing else: any other connection fails the test."""
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path / "home"))
    found = MemoryCluster()

    def connect(kubeconfig="", context=""):
        assert (kubeconfig, context) == ("/var/lib/primage/local/kubeconfig", "")
        return found

    monkeypatch.setattr(Clusters, "at", lambda _, there: connect(there.kubeconfig, there.context))
    monkeypatch.setattr(generated_secret, "Cluster", connect)
    return found


@pytest.fixture
def site(cluster):
    """The local site's outputs, as its last `up` left them."""
    outputs = EmbeddedEngine().offline_outputs(StackName("local"), Options())
    FileStore(state_dir() / "primage/local.json", StackName("local")).save(StackState("local", outputs=outputs))


def config_map(name="c", namespace=SPACE, **labels):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, "labels": labels}}


def tampered(cluster, name, change):
    """The state of a run, changed by somebody who may write Secrets there, in the form it is kept in."""
    ref = Ref("v1", "Secret", f"primage-state.{name.app}.{name.run}", name.namespace)
    body = json.loads(gzip.decompress(base64.b64decode(cluster.objects[ref]["data"]["state"])))
    change(body)
    cluster.objects[ref]["data"]["state"] = base64.b64encode(gzip.compress(json.dumps(body).encode())).decode()


def also(ref, **more):
    """A change that adds an entry for an object."""

    def change(body):
        urn, item = next((urn, item) for urn, item in body["resources"].items() if item["ref"])
        body["resources"][urn + "-x"] = {**item, "urn": urn + "-x", "ref": vars(ref), **more}

    return change


def everything(engine, name):
    """All commands that read a state."""
    return {
        "outputs": lambda: engine.outputs(name),
        "preview": lambda: engine.preview(name, Options()),
        "up": lambda: engine.up(name, Options()),
        "destroy": lambda: engine.destroy(name, Options()),
    }


# -- a run's state ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("foreign", [config_map(namespace=OTHER_SPACE), {**config_map(namespace=""), "kind": "Namespace"}])
def test_no_command_touches_what_a_state_names_elsewhere(cluster, site, foreign):
    engine = EmbeddedEngine()
    engine.up(BATCH, Options())
    ref = cluster.put(foreign, manager="primage:primage-batch/vo.primage.eu.local--trial")
    tampered(cluster, BATCH, also(ref))
    for command in everything(engine, BATCH).values():
        with pytest.raises(PrimageError, match=r"it names .* which is"):
            command()
    assert ref in cluster.objects
    assert cluster.deleted == []


def test_an_object_without_the_stacks_label_is_left_alone(cluster, site):
    engine = EmbeddedEngine()
    engine.up(BATCH, Options())
    ref = cluster.put(config_map())
    before = dict(cluster.objects)
    tampered(cluster, BATCH, also(ref))
    (change,) = engine.preview(BATCH, Options()).refused()
    assert "is not the stack's (written by somebody)" in change.refused
    for command in ("up", "destroy"):
        with pytest.raises(PrimageError, match="is listed in the stack's state and is not the stack's") as caught:
            everything(engine, BATCH)[command]()
        assert "who wrote that" in caught.value.todo
    assert set(cluster.objects) == set(before), "nothing else was deleted either"


def test_the_label_of_another_stack_outweighs_a_field_manager(cluster, site):
    engine = EmbeddedEngine()
    engine.up(BATCH, Options())
    ref = cluster.put(
        config_map(**{"primage.eu/stack": "local", "primage.eu/site": "local"}),
        manager="primage:primage-batch/vo.primage.eu.local--trial",
    )
    tampered(cluster, BATCH, also(ref))
    with pytest.raises(PrimageError, match="stack local of site local"):
        engine.destroy(BATCH, Options())
    assert ref in cluster.objects


def test_an_object_that_took_the_name_meanwhile_is_not_deleted(cluster, site, monkeypatch):
    engine = EmbeddedEngine()
    engine.up(BATCH, Options())
    job = Ref("batch/v1", "Job", "hello-trial", SPACE)
    monkeypatch.setattr(cluster, "get", lambda ref, get=cluster.get: changed(get(ref)) if ref == job else get(ref))

    def changed(obj):
        return obj and {**obj, "metadata": {**obj["metadata"], "uid": "the-one-that-was-looked-at"}}

    with pytest.raises(PrimageError, match="was not deleted: the UID"):
        engine.destroy(BATCH, Options())
    assert job in cluster.objects


def test_what_the_stack_made_is_deleted(cluster, site):
    engine = EmbeddedEngine()
    engine.up(BATCH, Options())
    engine.destroy(BATCH, Options())
    assert cluster.objects == {}


def test_a_secret_named_by_a_dynamic_entry_is_looked_at_before_it_goes(cluster, site):
    engine = EmbeddedEngine()
    engine.up(HTC, Options())
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "backend-hpc", "namespace": SPACE}}
    ref = cluster.put(theirs, manager="primage-credentials")

    def change(body):
        (item,) = [item for item in body["resources"].values() if item["dynamic"]]
        item["dynamic"]["inputs"]["secret"] = item["dynamic"]["outputs"]["secret"] = "backend-hpc"
        item["dynamic"]["inputs"]["labels"] = item["dynamic"]["outputs"]["labels"] = {}

    tampered(cluster, HTC, change)
    with pytest.raises(PrimageError, match="is not the stack's"):
        engine.destroy(HTC, Options())
    assert ref in cluster.objects

    def vague(body):
        (item,) = [item for item in body["resources"].values() if item["dynamic"]]
        item["dynamic"]["inputs"] = item["dynamic"]["outputs"] = {"namespace": SPACE, "secret": "../x"}

    tampered(cluster, HTC, vague)
    with pytest.raises(PrimageError, match="does not say which object it stands for"):
        engine.destroy(HTC, Options())


@pytest.mark.parametrize(("name", "file"), [(HTC, "htc-run"), (NOTEBOOK, "notebook-run")])
def test_a_run_of_the_first_form_is_the_same_and_can_be_destroyed(cluster, site, name, file):
    """With objects as they were then: without the stack's label."""
    engine = EmbeddedEngine()
    as_then = Options(overrides={"notebook.login": False} if name == NOTEBOOK else {})
    engine.up(name, as_then)
    for obj in cluster.objects.values():
        obj["metadata"]["labels"].pop("primage.eu/stack", None)
    text = (STATES / f"{file}.v1.json").read_bytes()
    state = Ref("v1", "Secret", f"primage-state.{name.app}.{name.run}", SPACE)
    cluster.objects[state]["data"]["state"] = base64.b64encode(gzip.compress(text)).decode()
    assert {change.action for change in engine.preview(name, as_then).changes} <= {Action.SAME, Action.UPDATE}
    secrets = [ref for ref in cluster.objects if ref.kind == "Secret"]
    engine.up(name, as_then)
    assert cluster.deleted == [], "the credentials are the ones there were"
    assert engine.up(name, as_then).changed() == []
    cluster.objects[state]["data"]["state"] = base64.b64encode(gzip.compress(text)).decode()
    engine.destroy(name, Options())
    assert cluster.objects == {}
    assert set(secrets) <= set(cluster.deleted)


# -- where the cluster is --------------------------------------------------------------------------------------------


def test_a_site_that_was_brought_up_elsewhere_is_not_mistaken_for_this_one(cluster, site, monkeypatch):
    monkeypatch.setenv("PRIMAGE_KUBECONFIG", "/elsewhere")
    for command in everything(EmbeddedEngine(), BATCH).values():
        with pytest.raises(PrimageError, match=r"last brought up through /var/lib/primage/local/kubeconfig, .* through /elsewhere"):
            command()


def test_nothing_is_asked_of_a_cluster_that_is_not_the_sites(cluster, site, monkeypatch):
    monkeypatch.setenv("PRIMAGE_KUBECONFIG", "/elsewhere")
    asked = []
    monkeypatch.setattr(cluster, "get", asked.append)
    batch = parse_stack_name("batch/vo.primage.eu.local")
    for command in (EmbeddedEngine().preview, EmbeddedEngine().up):
        with pytest.raises(PrimageError, match="last brought up through"):
            command(batch, Options())
    assert asked == []


def test_a_site_is_not_destroyed_where_it_is_not(tiny, cluster, monkeypatch):
    """What is not there counts as gone: its state would be forgotten."""
    engine = EmbeddedEngine()
    tiny("one", protect=False)
    engine.up(TINY, Options())
    monkeypatch.setenv("PRIMAGE_KUBECONFIG", "/elsewhere")
    with pytest.raises(PrimageError, match="last brought up through"):
        engine.destroy(TINY, Options())


def test_a_kind_that_no_app_makes_is_refused_before_anything_is_made(cluster, site, monkeypatch):
    from primage.engine import ownership

    monkeypatch.setattr(ownership, "APP_KINDS", ownership.APP_KINDS - {("batch/v1", "Job")})
    with pytest.raises(PrimageError, match=r"is of a kind .* that no app makes"):
        EmbeddedEngine().up(BATCH, Options())
    assert cluster.objects == {}


# -- dynamic providers -----------------------------------------------------------------------------------------------


def test_the_registry_names_the_programs_own_classes():
    from primage.components.client_certificate import ClientCertificate
    from primage.components.login_secrets import LoginSecrets, ServerCertificate
    from primage.components.queues.queue_credentials import QueueCredentials
    from primage.components.sessions.session_token import SessionToken
    from primage.components.xds_certificates import XdsCertificates

    classes = (QueueCredentials, SessionToken, LoginSecrets, ServerCertificate, XdsCertificates, ClientCertificate)
    assert {f"pulumi-python:{made._resource_type_name}" for made in classes} == set(PROVIDERS)
    assert all(make() for make in PROVIDERS.values())


def test_nothing_is_unpickled(cluster, site, monkeypatch):
    import pickle

    import dill

    def never(*_, **__):
        raise AssertionError("something was unpickled")

    for module in (dill, pickle):
        monkeypatch.setattr(module, "loads", never)
        monkeypatch.setattr(module, "load", never)
        monkeypatch.setattr(module, "Unpickler", never)
    engine = EmbeddedEngine()
    engine.up(HTC, Options())
    assert engine.up(HTC, Options()).changed() == []
    engine.destroy(HTC, Options())
    assert cluster.objects == {}


def test_credentials_take_over_nobodys_secret(cluster, site):
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words-old-queue", "namespace": SPACE}}
    ref = cluster.put({**theirs, "data": {"password": "a25vd24="}})
    with pytest.raises(PrimageError, match="is there already and was not made for this stack: it does not carry") as caught:
        EmbeddedEngine().up(HTC, Options())
    assert "another name" in str(caught.value)
    assert [*cluster.objects] == [ref], "refused before anything was made"


def test_a_cluster_that_does_not_answer_is_no_mistake_in_credentials(monkeypatch):
    """Who waits for a cluster, or calls one, tells by the exit code whether to try again."""

    def away(_):
        raise PrimageError("the cluster does not answer", code=ExitCode.UNREACHABLE)

    monkeypatch.setattr(generated_secret, "_reach", away)
    inputs = {"kubeconfig": "k", "context": "c", "namespace": SPACE, "secret": "words-old-queue", "labels": {}}
    with pytest.raises(PrimageError) as caught:
        PROVIDERS[QUEUE_CREDENTIALS]().check({}, inputs)
    assert caught.value.code is ExitCode.UNREACHABLE


def test_credentials_of_a_run_that_was_killed_are_taken_over(cluster, site):
    engine = EmbeddedEngine()
    engine.up(HTC, Options())
    secret = Ref("v1", "Secret", "words-old-queue", SPACE)
    before = cluster.objects[secret]["data"]

    def forget(body):
        (item,) = [item for item in body["resources"].values() if item["type"] == QUEUE_CREDENTIALS]
        item.update(status="applying", dynamic={"inputs": item["dynamic"]["inputs"], "outputs": {"namespace": SPACE}})

    tampered(cluster, HTC, forget)
    engine.up(HTC, Options())
    assert cluster.objects[secret]["data"] == before


# -- what is protected -----------------------------------------------------------------------------------------------


PROGRAM = """
import pulumi
import pulumi_kubernetes as kubernetes
from primage.components.labels import label_everything
label_everything(stack='tiny', site='tiny')
provider = kubernetes.Provider('cluster', kubeconfig='/var/lib/primage/local/kubeconfig')
opts = pulumi.ResourceOptions(provider=provider)
pulumi.export('site', {'kubeconfig': '/var/lib/primage/local/kubeconfig', 'context': ''})
for name in pulumi.Config().get_object('spaces'):
    space = kubernetes.core.v1.Namespace(name, metadata={'name': name}, opts=opts)
    kubernetes.core.v1.ConfigMap(f'{name}-c', metadata={'name': 'c', 'namespace': name}, opts=opts)
"""
TINY = StackName("tiny")


@pytest.fixture
def tiny(cluster, tmp_path, monkeypatch):
    """Writes the settings of a small site with namespaces in it."""
    (tmp_path / "infra").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: primage\nmain: infra/\n")
    (tmp_path / "infra/__main__.py").write_text(PROGRAM)
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(tmp_path))

    def write(*spaces, **settings):
        given = {"cluster": {"kubeconfig": "/var/lib/primage/local/kubeconfig"}, **settings}
        document = {"config": {"primage:site": given, "primage:spaces": [*spaces]}}
        (tmp_path / "Pulumi.tiny.yaml").write_text(yaml.safe_dump(document))

    return write


def test_protect_holds_in_the_very_up_that_would_delete(tiny, cluster):
    engine = EmbeddedEngine()
    tiny("one", "other", protect=False)
    engine.up(TINY, Options())
    state = (state_dir() / "primage/tiny.json").read_bytes()
    written = [*cluster.written]
    tiny("one", "third", protect=True)
    preview = engine.preview(TINY, Options())
    assert [change.label for change in preview.refused()] == ["Namespace other"]
    assert preview.as_dict()["refused"] == ["Namespace other"]
    with pytest.raises(PrimageError, match="Namespace other is protected and would be deleted, with everything in it") as caught:
        engine.up(TINY, Options())
    assert "protect: false" in caught.value.todo
    assert (cluster.deleted, cluster.written) == ([], written)
    assert (state_dir() / "primage/tiny.json").read_bytes() == state


def test_protect_is_the_default_and_holds_for_destroy(tiny, cluster):
    engine = EmbeddedEngine()
    tiny("one", "other", protect=False)
    engine.up(TINY, Options())
    tiny("one")
    with pytest.raises(PrimageError, match="nothing was changed") as caught:
        engine.destroy(TINY, Options())
    assert all(f"Namespace {name} is protected and would be deleted" in caught.value.what for name in ("one", "other"))
    assert cluster.deleted == []
    tiny("one", protect=False)
    engine.destroy(TINY, Options())
    assert cluster.objects == {}


def test_a_replacement_of_what_is_protected_is_refused_before_anything_is_sent(tiny, cluster, monkeypatch):
    from primage.clients.cluster import Refused

    engine = EmbeddedEngine()
    tiny("one", protect=False)
    engine.up(TINY, Options())
    written = [*cluster.written]
    apply = cluster.apply

    def immutable(obj, **how):
        if obj["kind"] == "Namespace" and obj["metadata"]["name"] == "one":
            raise Refused(422, "Invalid", "field is immutable")
        return apply(obj, **how)

    monkeypatch.setattr(cluster, "apply", immutable)
    tiny("one", "more")
    (change,) = engine.preview(TINY, Options()).refused()
    assert change.action is Action.REPLACE
    with pytest.raises(PrimageError, match="Namespace one is protected and would be replaced"):
        engine.up(TINY, Options())
    assert (cluster.deleted, cluster.written) == ([], written)


def test_an_object_of_another_site_is_said_to_be_its_own_and_never_to_be_deleted(tiny, cluster):
    tiny("one", protect=False)
    cluster.put(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "one", "labels": {"primage.eu/stack": "other"}}},
        manager="primage:primage/other",
    )
    with pytest.raises(PrimageError, match=r"one exists already and is not this stack's \(stack other .*primage/other") as caught:
        EmbeddedEngine().up(TINY, Options())
    assert "another name" in caught.value.todo
    assert "delete" not in caught.value.todo


def test_what_somebody_else_put_in_an_objects_place_is_not_taken_over(tiny, cluster):
    engine = EmbeddedEngine()
    tiny("one", protect=False)
    engine.up(TINY, Options())
    ref = Ref("v1", "ConfigMap", "c", "one")
    del cluster.objects[ref]
    cluster.put(config_map(namespace="one"))
    with pytest.raises(PrimageError, match="exists already and is not this stack's"):
        engine.up(TINY, Options())
    with pytest.raises(PrimageError, match="is listed in the stack's state and is not the stack's"):
        engine.destroy(TINY, Options())
    assert ref in cluster.objects


def test_a_finished_job_is_not_run_again_because_it_has_a_label_more():
    old = {"kind": "Job", "metadata": {"name": "j", "labels": {"a": "b"}}, "spec": {}}
    now = {**old, "metadata": {"name": "j", "labels": {"a": "b", "primage.eu/stack": "s"}}}
    assert digest(old, frozenset()) == digest(now, frozenset()) != digest({**now, "spec": {"a": 1}}, frozenset())
    assert "primage.eu/stack" in now["metadata"]["labels"], "the object itself keeps it"
