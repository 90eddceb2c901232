import base64
import fcntl
import gzip
import json
import os
import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_cluster import MemoryCluster

from primage.clients.cluster import Ref
from primage.components.dynamic_providers import PROVIDERS, QUEUE_CREDENTIALS, SESSION_TOKEN
from primage.engine.embedded.document import FILE, RUN, VERSION
from primage.engine.embedded.state import Entry, StackState, Status
from primage.engine.embedded.stores import FileStore, SecretStore
from primage.errors import PrimageError
from primage.projects.project import StackName, parse_stack_name

STATES = Path(__file__).parent / "states"
SITE = StackName("s")
RUN_NAME = parse_stack_name("batch/vo.primage.eu.local--trial")
SPACE = "vo-dot-primage-dot-eu"
SECRET = Ref("v1", "Secret", "primage-state.batch.trial", SPACE)


def entry(urn="u", status=Status.READY, **more):
    given = {"type": "kubernetes:core/v1:Namespace", "name": "n", "order": 1, "level": 1, "ref": Ref("v1", "Namespace", "n")}
    return Entry(urn=urn, status=status, **{**given, **more})


def raw_entry(**more):
    ref = {"api_version": "batch/v1", "kind": "Job", "name": "hello-trial", "namespace": SPACE}
    base = {"urn": "u", "type": "kubernetes:batch/v1:Job", "name": "job", "status": "ready", "order": 1, "level": 1, "ref": ref}
    return {**base, **more}


def document(*entries, **more):
    base = {"version": VERSION, "written": 1.0, "stack": str(RUN_NAME), "outputs": {}, "secret_outputs": []}
    return {**base, "resources": {item["urn"]: item for item in entries}, **more}


def packed(text):
    return base64.b64encode(gzip.compress(text if isinstance(text, bytes) else json.dumps(text).encode())).decode()


def store_with(data, name=RUN_NAME):
    """The store of a run whose Secret somebody else has written."""
    cluster = MemoryCluster()
    metadata = {"name": f"primage-state.{name.app}.{name.run}", "namespace": name.namespace}
    cluster.put({"apiVersion": "v1", "kind": "Secret", "type": "primage.eu/state", "metadata": metadata, "data": data})
    return SecretStore(cluster, name)


def refused(body, words):
    with pytest.raises(PrimageError, match=words) as caught:
        store_with({"state": packed(body)}).load()
    assert caught.value.where == str(SECRET)
    assert caught.value.todo


def test_comes_back_as_it_was(tmp_path):
    store = FileStore(tmp_path / "p" / "s.json", SITE)
    state = StackState("s", {"u": entry()}, {"site": {"a": 1}}, ["token"])
    store.save(state)
    assert store.load() == state


def test_a_run_comes_back_as_it_was():
    cluster = MemoryCluster()
    job = entry(type="kubernetes:batch/v1:Job", ref=Ref("batch/v1", "Job", "j", SPACE))
    kept = {"id": f"{SPACE}/q", "inputs": {"namespace": SPACE, "secret": "q"}, "outputs": {"namespace": SPACE, "generation": "1"}}
    made = entry("q", type=QUEUE_CREDENTIALS, ref=None, dynamic=kept)
    state = StackState(str(RUN_NAME), {"u": job, "q": made}, {"job": "j"}, [])
    SecretStore(cluster, RUN_NAME).save(state)
    assert SecretStore(cluster, RUN_NAME).load() == state
    assert cluster.objects[SECRET]["metadata"]["labels"]["primage.eu/stack"] == "batch_vo.primage.eu.local--trial"


def test_only_the_owner_reads_it(tmp_path):
    store = FileStore(tmp_path / "s.json", SITE)
    store.save(StackState("s"))
    assert (tmp_path / "s.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1}', '{"version": 1, "stack": "s", "resources": {"u": {}}}', '{"version": true}', "[" * 9999],
)
def test_damage_is_told_with_what_to_do(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(PrimageError, match="cannot be read") as caught:
        FileStore(tmp_path / "s.json", SITE).load()
    assert "backup" in caught.value.todo


def test_a_newer_state_is_left_alone(tmp_path):
    (tmp_path / "s.json").write_text('{"version": 99}')
    with pytest.raises(PrimageError, match="newer primage"):
        FileStore(tmp_path / "s.json", SITE).load()


@pytest.mark.parametrize(
    "body",
    [
        document(raw_entry(type="pulumi-python:dynamic/primage:FromTheFuture", ref=None, dynamic={"id": "x"})),
        document(raw_entry(more=1)),
        document(more=1),
    ],
)
def test_a_state_of_another_version_is_to_be_left_alone(body):
    with pytest.raises(PrimageError, match="cannot be read") as caught:
        store_with({"state": packed(body)}).load()
    assert "another version of primage" in caught.value.todo
    assert "delete" not in caught.value.todo


def test_a_failed_write_leaves_the_old_state(tmp_path, monkeypatch):
    store = FileStore(tmp_path / "s.json", SITE)
    store.save(StackState("s", {"u": entry()}))

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PrimageError, match="No space left"):
        store.save(StackState("s"))
    monkeypatch.undo()
    assert "u" in store.load().resources


def test_two_processes_do_not_change_one_stack(tmp_path):
    one, other = FileStore(tmp_path / "s.json", SITE), FileStore(tmp_path / "s.json", SITE)
    with one.lock(), pytest.raises(PrimageError, match="another process"), other.lock():
        raise AssertionError("both hold the lock")


def test_nothing_stays_of_a_stack_that_was_refused_or_removed(tmp_path):
    store = FileStore(tmp_path / "s.json", SITE)
    with pytest.raises(PrimageError, match="no such site"), store.lock():
        raise PrimageError("no such site")
    assert list(tmp_path.iterdir()) == []
    with store.lock():
        store.save(StackState("s"))
    assert {path.name for path in tmp_path.iterdir()} == {"s.json", "s.lock"}


def test_a_lock_that_its_last_holder_removes_at_that_moment_is_held_all_the_same(tmp_path, monkeypatch):
    one, other, path = FileStore(tmp_path / "s.json", SITE), FileStore(tmp_path / "s.json", SITE), tmp_path / "s.lock"
    really, removed = fcntl.flock, []

    def flock(stream, how):
        if not removed:
            path.unlink()
            removed.append(path)
        really(stream, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with one.lock(), pytest.raises(PrimageError, match="another process"), other.lock():
        raise AssertionError("both hold the lock")


def test_a_file_of_another_stack_is_refused(tmp_path):
    FileStore(tmp_path / "s.json", StackName("other")).save(StackState("other"))
    with pytest.raises(PrimageError, match="the state of other, not of s"):
        FileStore(tmp_path / "s.json", SITE).load()


def test_a_file_too_large_is_refused_unread(tmp_path):
    with (tmp_path / "s.json").open("wb") as stream:
        stream.truncate(FILE.size + 1)
    with pytest.raises(PrimageError, match=f"more than {FILE.size} bytes"):
        FileStore(tmp_path / "s.json", SITE).load()


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    store = FileStore(tmp_path / "s.json", SITE)
    store.save(StackState("s"))
    deep = "x"
    for _ in range(30):
        deep = [deep]
    for outputs in ({"deep": deep}, {"long": "x" * 20_000}, {"infinite": float("inf")}, {"odd": object()}):
        with pytest.raises(PrimageError, match="cannot be written"):
            store.save(StackState("s", outputs=outputs))
    assert store.load() == StackState("s")


# -- what a tenant may write in a run's Secret -----------------------------------------------------------------------


@pytest.mark.parametrize("key", ["kubeconfig", "context", "provider", "exec"])
def test_no_way_to_a_cluster_and_no_code_is_in_a_state(key):
    refused(document(raw_entry(**{key: "x"})), f"{key}: Extra inputs are not permitted")


def test_a_pickle_is_never_loaded(tmp_path):
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    text = base64.b64encode(pickle.dumps(Bomb())).decode()
    kept = {"id": "x", "provider": text, "inputs": {"namespace": SPACE, "secret": "s"}, "outputs": {"namespace": SPACE}}
    queue = "urn:pulumi:s::p::primage:app:Queue$pulumi-python:dynamic:Resource::q"
    old = raw_entry(urn=queue, type="pulumi-python:dynamic:Resource", ref=None, kubeconfig="", context="", dynamic=kept)
    refused(document(raw_entry(type=QUEUE_CREDENTIALS, ref=None, dynamic=kept)), "provider")
    loaded = store_with({"state": packed(document(old, version=1))}).load()
    assert text not in repr(loaded)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ({"namespace": "training-dot-primage-dot-eu"}, "is not in vo-dot-primage-dot-eu, the stack's own namespace"),
        ({"namespace": ""}, "is not in vo-dot-primage-dot-eu"),
        ({"kind": "Namespace", "api_version": "v1", "namespace": ""}, "of a kind .* that no app makes"),
        ({"kind": "PersistentVolumeClaim", "api_version": "v1"}, "of a kind .* that no app makes"),
        ({"api_version": "batch/v1beta1"}, "of a kind .* that no app makes"),
        ({"name": "x/../../../secrets/backend-hpc"}, "String should match pattern"),
        ({"name": "..\n"}, "String should match pattern"),
        ({"namespace": "../kube-system"}, "String should match pattern"),
        ({"name": "x" * 300}, "at most 253"),
    ],
)
def test_a_runs_state_names_only_what_an_app_makes_in_its_namespace(ref, words):
    item = raw_entry()
    refused(document({**item, "ref": {**item["ref"], **ref}}), words)


def test_an_unknown_dynamic_provider_is_refused():
    kept = {"id": "x", "inputs": {"namespace": SPACE}, "outputs": {"namespace": SPACE}}
    refused(document(raw_entry(type="pulumi-python:dynamic/os:System", ref=None, dynamic=kept)), "no dynamic provider is known for")
    for type_ in PROVIDERS:
        assert store_with({"state": packed(document(raw_entry(type=type_, ref=None, dynamic=kept)))}).load().resources


def test_a_dynamic_resource_of_another_namespace_is_refused():
    kept = {"id": "x", "inputs": {"namespace": SPACE}, "outputs": {"namespace": "kube-system"}}
    refused(document(raw_entry(type=SESSION_TOKEN, ref=None, dynamic=kept)), "not in the stack's own namespace")
    refused(document(raw_entry(type=SESSION_TOKEN, ref=None, dynamic={"id": "x"})), "not in the stack's own namespace")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (document(stack="batch/training.primage.eu.local--trial"), "not of batch/vo.primage.eu.local--trial"),
        (document(outputs={"x": "y" * 20_000}), "longer than 16384"),
        (document(outputs={"x": list(range(20_000))}), "more than 10000 values"),
        (document(outputs={"x": 10**30}), "out of bounds"),
        (document(*(raw_entry(urn=f"u{i}", name="n") for i in range(201))), "at most 200"),
        (document(more=1), "more: Extra inputs"),
        (document(raw_entry(name="\x1b]0;owned\x07")), "should match pattern"),
        (document({**raw_entry(), "urn": "v"}, resources={"u": raw_entry(urn="v")}), "calls itself another"),
        (document(raw_entry(dynamic={"id": "x"})), "not both"),
        (b"\xff\xfe", "codec can't decode"),
        (b'{"version": 2, "written": NaN}', "NaN is not a number"),
    ],
)
def test_what_a_state_is_not_is_refused_with_the_reason(body, words):
    refused(body, words)


@pytest.mark.parametrize(
    "data", [None, {}, {"state": 7}, {"other": "x"}, {"state": "é"}, {"state": "AAAA"}, {"state": packed({}), "more": "x"}, []]
)
def test_a_secret_that_is_no_state_is_refused(data):
    with pytest.raises(PrimageError, match="cannot be read"):
        store_with(data).load()


BOMBS = {
    "a gzip bomb": packed(b"0" * 300_000_000),
    "0.95 MB of base64": base64.b64encode(os.urandom(712_000)).decode(),
    "as many lists as fit": packed(b"[" + b"[]," * 80_000 + b"[]]"),
    "as many mappings as fit": packed(b"[" + b'{"":0},' * 37_000 + b"{}]"),
    "nested as deeply as fits": packed(b"[" * 250_000),
    "as many unknown keys as fit": packed(b"{" + b",".join(b'"%d":0' % i for i in range(9_000)) + b',"version":2}'),
    "one number": packed(b'{"version":' + b"9" * 250_000 + b"}"),
    "two gzip members": base64.b64encode(gzip.compress(b"{}") * 2).decode(),
    "a torn gzip": base64.b64encode(gzip.compress(b"{}" * 500)[:-9]).decode(),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_less_than_20_mb(name):
    store = store_with({"state": BOMBS[name]})
    tracemalloc.start()
    try:
        with pytest.raises(PrimageError, match="cannot be read"):
            store.load()
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def within_bounds(state):
    assert isinstance(state, StackState)
    assert len(state.resources) <= RUN.entries
    for item in state.resources.values():
        assert item.ref is None or item.ref.namespace == SPACE
        assert item.type in PROVIDERS or item.ref is not None
    json.dumps([state.outputs, state.secret_outputs], allow_nan=False).encode()
    "".join([*state.resources, *state.outputs]).encode()


@given(st.binary(max_size=300))
@example(gzip.compress(b'{"version": 1, "stack": "", "resources": {"": []}}'))
def test_any_bytes_in_the_secret_are_a_state_or_an_error(data):
    for text in (base64.b64encode(data).decode(), packed(data), data.decode("latin-1")):
        try:
            within_bounds(store_with({"state": text}).load())
        except PrimageError as error:
            str(error)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=10), x, max_size=4),
    max_leaves=8,
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys((*raw_entry(), "dynamic", "digest", "protect", "retain", "kubeconfig"), ANYTHING),
        "dynamic": st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "inputs", "outputs", "provider"), ANYTHING)) | ANYTHING,
        "type": st.sampled_from(["kubernetes:batch/v1:Job", *PROVIDERS, "pulumi-python:dynamic:Resource"]) | ANYTHING,
        "ref": st.fixed_dictionaries({}, optional=dict.fromkeys(("api_version", "kind", "name", "namespace"), ANYTHING)) | ANYTHING,
    },
)
WHOLE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("written", "stack", "outputs", "secret_outputs", "resources", "more"), ANYTHING)
)


@settings(max_examples=300)
@given(st.sampled_from([1, 2]) | ANYTHING, WHOLE, st.lists(PARTS, max_size=3))
def test_any_document_is_a_state_or_an_error(version, whole, entries):
    """Valid ones with any of their parts exchanged for anything."""
    mixed = document(*(raw_entry(urn=f"u{i}") for i in range(len(entries))), version=version)
    for item, parts in zip(mixed["resources"].values(), entries, strict=True):
        item.update(parts)
    try:
        within_bounds(store_with({"state": packed({**mixed, **whole})}).load())
    except PrimageError as error:
        str(error)


# -- states of the first form ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "type_", "parent", "number"),
    [("htc-run", QUEUE_CREDENTIALS, "primage:app:Queue", 6), ("notebook-run", SESSION_TOKEN, "primage:app:Session", 3)],
)
def test_a_state_of_the_first_form_is_read_and_written_in_this_form(file, type_, parent, number):
    text = (STATES / f"{file}.v1.json").read_bytes()
    old = json.loads(text)
    name = parse_stack_name(old["stack"])
    store = store_with({"state": packed(text)}, name)
    state = store.load()
    assert len(state.resources) == len(old["resources"]) == number
    (made,) = [item for item in state.resources.values() if item.dynamic]
    assert made.type == type_
    assert f"{parent}${type_}::" in made.urn
    assert not {"kubeconfig", "context"} & {*made.dynamic.inputs, *made.dynamic.outputs}
    store.save(state)
    written = gzip.decompress(base64.b64decode(store._cluster.get(store._ref)["data"]["state"])).decode()
    assert json.loads(written)["version"] == VERSION
    assert "kubeconfig" not in written
    assert "provider" not in written
    assert store.load() == state


def test_the_first_form_with_a_provider_nobody_knows_is_refused(tmp_path):
    urn = "urn:pulumi:s::primage::pulumi-python:dynamic:Resource::f"
    old = raw_entry(urn=urn, type="pulumi-python:dynamic:Resource", ref=None, dynamic={"id": "x", "provider": "gASVNQ"})
    (tmp_path / "s.json").write_text(json.dumps(document(old, version=1, stack="s")))
    with pytest.raises(PrimageError, match="a dynamic provider that this primage does not know") as caught:
        FileStore(tmp_path / "s.json", SITE).load()
    assert "providers.py" in caught.value.todo
