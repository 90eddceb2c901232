"""The embedded engine on an API server of its own: changes, order, state, secrets, interruption."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from control_plane import control_plane
from pulumi.dynamic import CreateResult, ResourceProvider, UpdateResult

from primage.clients.cluster import Cluster, Ref
from primage.components.dynamic_providers import PROVIDERS
from primage.engine.api import Action, Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.local.toolchain.build import KUBERNETES_TOOLS

pytestmark = pytest.mark.apart
NAMESPACE = "primage-engine-test"
CONFIG = Ref("v1", "ConfigMap", "c", NAMESPACE)

ONE = "kubernetes.core.v1.ConfigMap('c', metadata=meta('c'), data={'a': '1'}, opts=on(space))\n"
TWO = "kubernetes.core.v1.ConfigMap('c', metadata=meta('c'), data={'a': '2', 'b': '3'}, opts=on(space))\n"


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory):
    folder = tmp_path_factory.mktemp("control-plane")
    with control_plane(KUBERNETES_TOOLS.build(folder / "build.log", lambda *_: None), folder) as path:
        yield path


@pytest.fixture(scope="module")
def cluster(kubeconfig):
    return Cluster(kubeconfig)


def actions(result):
    return {change.label: change.action for change in result.changes}


def state_text():
    return (Path(os.environ["PRIMAGE_HOME"]) / "state/primage/tiny.json").read_text()


def test_made_then_the_same_then_changed_field_by_field(program, cluster):
    engine, name = EmbeddedEngine(), program(ONE)
    made = engine.up(name, Options())
    assert set(actions(made).values()) == {Action.CREATE}
    version = cluster.get(CONFIG)["metadata"]["resourceVersion"]
    assert engine.up(name, Options()).changed() == []
    assert cluster.get(CONFIG)["metadata"]["resourceVersion"] == version
    program(TWO)
    (change,) = engine.preview(name, Options()).changed()
    assert {(f.path, f.before, f.after) for f in change.fields} == {("data.a", "1", "2"), ("data.b", None, "3")}
    assert cluster.get(CONFIG)["data"] == {"a": "1"}, "a preview changes nothing"
    engine.up(name, Options())
    assert cluster.get(CONFIG)["data"] == {"a": "2", "b": "3"}


def test_what_left_the_program_is_deleted_and_the_rest_stays(program, cluster):
    engine = EmbeddedEngine()
    engine.up(program(ONE), Options())
    result = engine.up(program(""), Options())
    assert actions(result)[str(CONFIG)] is Action.DELETE
    assert cluster.get(CONFIG) is None
    assert cluster.get(Ref("v1", "Namespace", NAMESPACE)) is not None


def test_drift_is_mended(program, cluster):
    engine, name = EmbeddedEngine(), program(ONE)
    engine.up(name, Options())
    cluster.delete(CONFIG)
    assert actions(engine.up(name, Options()))[str(CONFIG)] is Action.CREATE
    assert cluster.get(CONFIG)["data"] == {"a": "1"}


def test_somebody_elses_field_is_a_conflict_named(program, cluster):
    engine, name = EmbeddedEngine(), program(ONE)
    engine.up(name, Options())
    cluster.apply({**_config({"a": "9"})}, manager="somebody", force=True)
    with pytest.raises(PrimageError, match="somebody") as caught:
        engine.up(name, Options())
    assert "patchForce" in caught.value.todo
    cluster.delete(CONFIG)


def test_somebody_elses_object_is_left_alone(program, cluster):
    engine, name = EmbeddedEngine(), program("")
    engine.up(name, Options())
    cluster.apply(_config({"a": "theirs"}), manager="somebody")
    program(ONE)
    with pytest.raises(PrimageError, match="exists already and is not this stack's"):
        engine.up(name, Options())
    assert cluster.get(CONFIG)["data"] == {"a": "theirs"}


def test_an_immutable_field_is_replaced_and_told_so(program, cluster):
    engine = EmbeddedEngine()
    engine.up(program("job('j', 'echo one')"), Options())
    name = program("job('j', 'echo two')")
    (change,) = engine.preview(name, Options()).changed()
    assert change.action is Action.REPLACE
    assert "immutable" in change.reason
    engine.up(name, Options())
    assert (
        cluster.get(Ref("batch/v1", "Job", "j", NAMESPACE))["spec"]["template"]["spec"]["containers"][0]["command"][-1]
        == "echo two"
    )


def test_protected_things_are_not_deleted(program, cluster):
    engine = EmbeddedEngine()
    engine.up(program("kubernetes.core.v1.ConfigMap('c', metadata=meta('c'), opts=on(space, protect=True))"), Options())
    with pytest.raises(PrimageError, match="is protected"):
        engine.up(program(""), Options())
    with pytest.raises(PrimageError, match="is protected"):
        engine.destroy(program(""), Options())
    assert cluster.get(CONFIG) is not None
    engine.up(program("kubernetes.core.v1.ConfigMap('c', metadata=meta('c'), opts=on(space))"), Options())


def test_retained_things_stay_when_they_leave(program, cluster):
    engine = EmbeddedEngine()
    engine.up(program("kubernetes.core.v1.ConfigMap('c', metadata=meta('c'), opts=on(space, retain_on_delete=True))"), Options())
    assert actions(engine.up(program(""), Options()))[str(CONFIG)] is Action.KEEP
    assert cluster.get(CONFIG) is not None


def test_ignored_changes_keep_the_live_value(program, cluster):
    body = """
    kubernetes.apps.v1.Deployment('d', metadata=meta('d'), spec={'replicas': 0, 'selector': {'matchLabels': {'a': 'd'}},
        'template': {'metadata': {'labels': {'a': 'd'}}, 'spec': {'containers': [{'name': 'c',
        'image': '10.89.77.11:5000/primage/base:1',
        'command': ['sleep', '600']}]}}}, opts=on(space, ignore_changes=['spec.replicas']))
    """
    engine, name = EmbeddedEngine(), program(body)
    engine.up(name, Options())
    ref = Ref("apps/v1", "Deployment", "d", NAMESPACE)
    scaled = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": NAMESPACE},
        "spec": {"replicas": 1},
    }
    cluster.apply(scaled, manager="scaler", force=True)
    engine.up(name, Options())
    assert cluster.get(ref)["spec"]["replicas"] == 1


def test_secrets_are_neither_shown_nor_kept(program, cluster):
    body = """
    kubernetes.core.v1.Secret('s', metadata=meta('s'), string_data={'key': 'hunter2-hunter2'}, opts=on(space))
    pulumi.export('token', pulumi.Output.secret('hunter2-hunter2'))
    pulumi.export('open', 'seen')
    """
    engine, name = EmbeddedEngine(), program(body)
    seen = []
    result = engine.up(name, Options(listener=seen.append))
    program(body.replace("hunter2-hunter2", "hunter3-hunter3"))
    text = (
        json.dumps([result.as_dict(), engine.preview(name, Options()).as_dict(), engine.outputs(name)]) + str(seen) + state_text()
    )
    for word in ("hunter2", "hunter3", "aHVudGVy"):
        assert word not in text
    assert engine.outputs(name) == {"token": "[secret]", "open": "seen"}


def test_values_flow_between_resources(program, cluster):
    body = """
    first = kubernetes.core.v1.ConfigMap('c', metadata=meta('c'), data={'a': '1'}, opts=on(space))
    kubernetes.core.v1.ConfigMap('d', metadata=meta('d'), data={'uid': first.metadata.uid}, opts=on(space))
    """
    EmbeddedEngine().up(program(body), Options())
    uid = cluster.get(CONFIG)["metadata"]["uid"]
    assert cluster.get(Ref("v1", "ConfigMap", "d", NAMESPACE))["data"] == {"uid": uid}


class Files(ResourceProvider):
    """Makes files; the program below names it, and this process knows it by that name."""

    def address(self, props):
        return None

    def create(self, props):
        Path(props["path"]).write_text(props["text"])
        return CreateResult(id_=props["path"], outs={**props, "size": len(props["text"])})

    def update(self, id_, olds, news):
        Path(id_).write_text(news["text"])
        return UpdateResult(outs={**news, "size": len(news["text"])})

    def delete(self, id_, props):
        Path(id_).unlink()


DYNAMIC = """
from pulumi.dynamic import Resource, ResourceProvider
class File(Resource, module='test', name='File'):
    size: pulumi.Output[int]
    def __init__(self, name, path, text):
        super().__init__(ResourceProvider(), name, {'path': path, 'text': text, 'size': None})
"""


def test_dynamic_providers_are_called_by_their_registered_names(program, tmp_path, monkeypatch):
    monkeypatch.setitem(PROVIDERS, "pulumi-python:dynamic/test:File", Files)
    target = tmp_path / "made"
    engine = EmbeddedEngine()
    body = textwrap.dedent(DYNAMIC) + "made = File('f', %r, %r)\npulumi.export('size', made.size)\n"
    name = program(body % (str(target), "one"))
    engine.up(name, Options())
    assert target.read_text() == "one"
    assert engine.outputs(name)["size"] == 3
    assert engine.up(name, Options()).changed() == []
    program(body % (str(target), "three"))
    engine.up(name, Options())
    assert (target.read_text(), engine.outputs(name)["size"]) == ("three", 5)
    engine.up(program(""), Options())
    assert not target.exists()


def test_a_dynamic_provider_without_a_registered_name_is_refused(program, tmp_path):
    name = program(textwrap.dedent(DYNAMIC) + f"File('f', {str(tmp_path / 'made')!r}, 'one')\n")
    with pytest.raises(PrimageError, match=r"f is made by a dynamic provider .*dynamic/test:File.* does not know") as caught:
        EmbeddedEngine().up(name, Options())
    assert "providers.py" in caught.value.todo


MANY = """
last = space
for i in range(4):
    last = kubernetes.core.v1.ConfigMap(f'c{i}', metadata=meta(f'c{i}'), data={'i': str(i)}, opts=on(last))
done = job('j', 'true', needs=[last])
kubernetes.core.v1.ConfigMap('end', metadata=meta('end'), opts=on(done))
"""
KILLER = """
import os, signal, sys
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.api import Options
from primage.projects.project import parse_stack_name
left = int(sys.argv[2])
def listener(event):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
getattr(EmbeddedEngine(), sys.argv[1])(parse_stack_name('tiny'), Options(listener=listener))
print('END', left)
"""


def killed_at(verb, event):
    """Run `verb` in a process that kills itself at its n-th event; True when it died of that."""
    done = subprocess.run(
        [sys.executable, "-c", KILLER, verb, str(event)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def test_killed_at_every_event_and_run_again_it_completes(program, cluster):
    engine, name = EmbeddedEngine(), program(MANY)
    wanted = {f"c{i}" for i in range(4)} | {"end"}
    event = deaths = 0
    while True:
        event += 1
        if not killed_at("up", event):
            break
        deaths += 1
        engine.up(name, Options())
        assert engine.up(name, Options()).changed() == []
        found = {o["metadata"]["name"] for o in cluster.list("v1", "ConfigMap", NAMESPACE)} - {"kube-root-ca.crt"}
        assert found == wanted
        while killed_at("destroy", 2 * deaths):
            deaths += 1
        engine.destroy(name, Options())
        assert cluster.get(Ref("v1", "Namespace", NAMESPACE)) is None
        event += 2  # every third event from here: creating, waiting and ready of each object are all met
    assert deaths >= 5


def test_a_finished_job_that_was_cleaned_up_is_not_run_again(program, cluster):
    engine, name = EmbeddedEngine(), program("job('j', 'true', ttlSecondsAfterFinished=0)")
    engine.up(name, Options())
    ref = Ref("batch/v1", "Job", "j", NAMESPACE)
    while any(True for current in cluster.watch(ref, timeout_s=2) if current is not None):
        continue
    assert cluster.get(ref) is None
    assert engine.up(name, Options()).changed() == []


def _config(data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": NAMESPACE}, "data": data}
