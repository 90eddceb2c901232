"""Bad input and bad days: the error names the object and the next step, and nothing is lost."""

import base64
import subprocess
import threading
from pathlib import Path

import pytest
import yaml
from machine import output_on

from primage.clients.cluster import Cluster, Ref
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import ExitCode, PrimageError

NAMESPACE = "primage-engine-test"


def refused(name, words, **options):
    with pytest.raises(PrimageError) as caught:
        EmbeddedEngine().up(name, Options(**options))
    assert words in caught.value.what, caught.value.what
    assert caught.value.todo
    return caught.value


def test_a_missing_image(program):
    error = refused(
        program("job('j', 'true', image='localhost/nobody/nothing:1')"), "image localhost/nobody/nothing:1 cannot be pulled"
    )
    assert f"Job {NAMESPACE}/j" in error.what


def test_more_than_any_node_has(program):
    name = program("job('j', 'true', resources={'requests': {'cpu': '999'}})")
    assert "the largest node has" in refused(name, "asks for 999 of cpu").what


def test_a_label_no_node_has(program):
    refused(program("job('j', 'true', pod={'nodeSelector': {'gpu': 'a100'}})"), "no node has the labels it selects (gpu=a100)")


def test_a_job_that_fails_shows_its_last_lines(program):
    error = refused(program("job('j', 'echo the reason; exit 7')"), "ended with status 7")
    assert "the reason" in error.what


def test_out_of_memory_is_told(program):
    body = "job('j', 'head -c 200m /dev/zero | tail', resources={'limits': {'memory': '32Mi'}})"
    refused(program(body), "failed 1 time, as often as it may")


def test_a_deadline_is_told(program):
    refused(
        program("job('j', 'sleep 600', activeDeadlineSeconds=3, pod={'terminationGracePeriodSeconds': 1})"),
        "ran longer than its deadline of 3 s",
    )


def test_a_missing_config_map_is_told(program):
    body = """
    container = {'name': 'c', 'image': '10.89.77.11:5000/primage/base:1', 'envFrom': [{'configMapRef': {'name': 'absent'}}]}
    job('j', 'true', pod={'containers': [container]})
    """
    refused(program(body), 'configmap "absent" not found')


def test_a_failed_job_is_run_again_when_it_is_corrected(program):
    refused(program("job('j', 'exit 1')"), "failed")
    assert EmbeddedEngine().up(program("job('j', 'true')"), Options()).changed()


def test_one_failure_leaves_what_was_made_and_is_gone_on_from(program, cluster):
    body = "c = kubernetes.core.v1.ConfigMap('c', metadata=meta('c'), opts=on(space))\njob('j', 'exit {}', needs=[c])\n"
    refused(program(body.format(1)), "failed")
    assert cluster.get(Ref("v1", "ConfigMap", "c", NAMESPACE)) is not None
    result = EmbeddedEngine().up(program(body.format(0)), Options())
    assert [change.label for change in result.changed()] == [f"Job {NAMESPACE}/j"]


def test_a_field_the_api_does_not_have(program):
    name = program("kubernetes.core.v1.ConfigMap('c', metadata=meta('c', nmae='x'), opts=on(space))")
    with pytest.raises(PrimageError, match="nmae"):
        EmbeddedEngine().up(name, Options())


def test_no_permission(program, cluster, kubeconfig, tmp_path, monkeypatch):
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": "default"}}
    token = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token"}
    token["metadata"] = {"name": "nobody", "namespace": "default", "annotations": {"kubernetes.io/service-account.name": "nobody"}}
    cluster.apply(account, manager="test")
    cluster.apply(token, manager="test")
    ref = Ref("v1", "Secret", "nobody", "default")
    for current in cluster.watch(ref, timeout_s=20):
        if current and "token" in (current.get("data") or {}):
            break
    text = base64.b64decode(cluster.get(ref)["data"]["token"]).decode()
    document = yaml.safe_load(Path(kubeconfig).read_text())
    document["users"][0]["user"] = {"token": text}
    limited = tmp_path / "limited"
    limited.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("TEST_KUBECONFIG", str(limited))
    error = refused(program(""), "namespaces")
    assert "forbidden" in error.what
    assert "ask the site's operator" in error.todo
    cluster.delete(ref)
    cluster.delete(Ref("v1", "ServiceAccount", "nobody", "default"))


def test_the_api_server_is_away_from_the_start(program, kubeconfig, tmp_path, monkeypatch):
    document = yaml.safe_load(Path(kubeconfig).read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "away").write_text(yaml.safe_dump(document))
    monkeypatch.setenv("TEST_KUBECONFIG", str(tmp_path / "away"))
    assert refused(program(""), "https://127.0.0.1:9 does not answer").code is ExitCode.UNREACHABLE


@pytest.mark.alone
def test_the_api_server_is_killed_while_a_job_is_waited_for(program):
    killed = threading.Event()

    def listener(event):
        if event.detail.startswith("1 of 1") and not killed.is_set():
            killed.set()
            output_on("primage-local-front", "pkill", "--signal", "KILL", "--exact", "kube-apiserver")

    EmbeddedEngine().up(program("job('j', 'sleep 4')"), Options(listener=listener))
    assert killed.is_set()


def test_a_full_disk_touches_nothing(program, cluster, tmp_path, monkeypatch):
    home = tmp_path / "full"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(home)], check=True)
    try:
        monkeypatch.setenv("PRIMAGE_HOME", str(home))
        (home / "state/primage").mkdir(parents=True)
        # dd ends with an error once the disk is full, which is what it is for.
        subprocess.run(["dd", "if=/dev/zero", f"of={home}/filler", "bs=4k"], capture_output=True, check=False)
        name = program("")
        refused(name, "cannot be written (No space left on device)")
        assert cluster.get(Ref("v1", "Namespace", NAMESPACE)) is None
        (home / "filler").unlink()
        EmbeddedEngine().up(name, Options())
        EmbeddedEngine().destroy(name, Options())
    finally:
        subprocess.run(["umount", str(home)], check=True)


@pytest.fixture
def used(site):
    """A part of the second VO's quota that is used."""
    from primage.operations.helper_pod import helper_pod
    from primage.operations.site import usual_site

    found = usual_site()
    image = found.outputs.images.resolve("primage/base:1")
    pod = helper_pod(
        "used", found.place("training.primage.eu"), {"name": "c", "image": image}, memory="16Mi", mounts=[], volumes=[]
    )
    found.cluster.apply(pod, manager="test")
    yield
    found.cluster.delete(Ref.of(pod))


@pytest.mark.quiet  # it counts on the rest of the quota being free
def test_a_quota_that_can_never_suffice_and_one_that_is_used_up_are_told(used):
    from primage.operations.why import explain_object
    from primage.projects.project import parse_stack_name

    name = parse_stack_name("batch/training.primage.eu.local--quota")
    job = {
        "name": "big",
        "image": "primage/base:1",
        "command": ["true"],
        "cpu": "4",
        "memory": "64Mi",
        "deadline_seconds": 8,
    }
    engine, ref = EmbeddedEngine(), Ref("batch/v1", "Job", "big-quota", "training-dot-primage-dot-eu")
    cluster = Cluster("/var/lib/primage/local/kubeconfig")
    engine.up(name, Options(overrides={"job": {**job, "cpu": "10m", "deadline_seconds": 300}}))
    before = cluster.get(ref)["metadata"]["uid"]
    with pytest.raises(PrimageError, match=r"it asks for 5 of limits\.cpu, but its namespace's whole quota is 4"):
        engine.up(name, Options(overrides={"job": {**job, "cpu": "5"}}))
    assert cluster.get(ref)["metadata"]["uid"] == before, "the run that stands is not lost for one that can never run"
    with pytest.raises(PrimageError, match="deadline of 8 s"):
        engine.up(name, Options(overrides={"job": job}))
    assert "exceeded quota" in str(cluster.list("v1", "Event", ref.namespace))
    assert explain_object(cluster, ref).state == "failed"
    engine.destroy(name, Options())
