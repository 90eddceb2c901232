"""What a tenant can write in a namespace does not decide where an operator's commands and credentials go."""

import json

import pytest
from memory_cluster import MemoryCluster

from primage.clients.cluster import Ref
from primage.errors import ExitCode, PrimageError
from primage.operations import hpc_login as hpc
from primage.operations.queues import StackQueue
from primage.operations.stack import stack_handle
from primage.projects.connection import Connection, site_connection
from primage.projects.project import StackName, parse_stack_name

SPACE = "vo-dot-primage-dot-eu"


# -- where the cluster is --------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path, monkeypatch):
    (tmp_path / "infra").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: primage\nmain: infra/\n")
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(tmp_path))
    monkeypatch.delenv("PRIMAGE_KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", "/home/ann")

    def write(settings):
        (tmp_path / "Pulumi.tiny.yaml").write_text(json.dumps({"config": {"primage:site": settings}}))

    return write


@pytest.mark.parametrize(
    ("settings", "connection"),
    [
        ({}, Connection("", "")),
        (None, Connection("", "")),
        ({"cluster": {"kubeconfig": "~/.kube/site", "context": "c"}}, Connection("/home/ann/.kube/site", "c")),
    ],
)
def test_a_site_is_reached_as_its_own_settings_say(site, settings, connection):
    site(settings)
    assert site_connection("tiny") == connection


def test_a_kubeconfig_in_the_environment_goes_first(site, monkeypatch):
    monkeypatch.setenv("PRIMAGE_KUBECONFIG", "/elsewhere")
    site({"cluster": {"kubeconfig": "/here", "context": "c"}})
    assert site_connection("tiny") == Connection("/elsewhere", "c")


@pytest.mark.parametrize(
    "cluster", ["x", {"kubeconfig": 7}, {"server": "http://x"}, {"host": "https://x"}, {"kubeconfig": "<path>"}]
)
def test_settings_that_do_not_say_where_are_refused(site, cluster):
    site({"cluster": cluster})
    with pytest.raises(PrimageError, match="do not say how its cluster is reached") as caught:
        site_connection("tiny")
    assert caught.value.code is ExitCode.INVALID
    assert caught.value.where.endswith("Pulumi.tiny.yaml, primage:site.cluster")


def test_a_site_without_a_file_is_named(site):
    with pytest.raises(PrimageError, match="stack tiny has no configuration"):
        site_connection("tiny")


# -- where credentials go --------------------------------------------------------------------------------------------


def test_a_login_goes_where_the_sites_file_says_not_where_the_namespace_does(tmp_path, monkeypatch):
    cluster = MemoryCluster()
    theirs = {"ENDPOINT": "elsewhere.eu:22", "slurmrestd": "https://elsewhere.eu"}
    metadata = {"name": "backend-hpc-rest", "namespace": "training-dot-primage-dot-eu"}
    cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": theirs})
    monkeypatch.setattr("primage.operations.site.Cluster", lambda *_: cluster)
    asked = []
    monkeypatch.setattr(hpc, "_try_rest", lambda url, endpoint, given: asked.append((url, endpoint)) or "ok")
    file = tmp_path / "key"
    file.write_text("x")
    given = hpc.Login("ann", file, file, token=file)
    assert hpc.login("local", "training.primage.eu", "hpc-rest", given) == "ok"
    assert asked == [("https://10.89.77.13:6820", "10.89.77.13")]
    assert Ref("v1", "Secret", "backend-hpc-rest", "training-dot-primage-dot-eu") in cluster.objects


def test_a_backend_of_another_vo_is_not_logged_in_at(tmp_path):
    with pytest.raises(PrimageError, match=r"VO vo\.primage\.eu has no HPC backend hpc-rest on site local; it has hpc"):
        hpc.login("local", "vo.primage.eu", "hpc-rest", hpc.Login("ann", tmp_path / "key", tmp_path / "hosts"))


# -- what a pod answers ----------------------------------------------------------------------------------------------


STANDING = {"pushed": 3, "waiting": 0, "running": 0, "done": 3, "dead": 0, "closed": True, "finished": True, "consumers": 1}


@pytest.fixture
def queue(monkeypatch):
    """A queue whose pod answers with what is given."""

    def make(answer):
        found = StackQueue.__new__(StackQueue)
        monkeypatch.setattr("primage.operations.site.Cluster", lambda *_: MemoryCluster())
        found._stack = parse_stack_name("htc/vo.primage.eu.local")
        found._handle = stack_handle(found._stack)
        found._cluster = found._handle.cluster
        found._pod = Ref("v1", "Pod", "words-queue-0", SPACE)
        found._consumers = Ref("batch/v1", "Job", "words-consumers", SPACE)
        found._producer = Ref("batch/v1", "Job", "words-producer", SPACE)
        monkeypatch.setattr(found, "_run", lambda *_: answer)
        return found

    return make


def test_a_queue_stands_as_it_says(queue):
    standing = {**STANDING, "rate": 0.5, "eta_s": None}
    assert queue(json.dumps(standing)).standing() == {**standing, "parallelism": None, "pods": 0}
    assert queue("7\n").retry() == 7
    letter = {"argument": "a", "error": "e", "tail": "t", "tries": 3, "at": 1.5}
    assert queue(f"{json.dumps(letter)}\n").letters() == [letter]


def test_consumers_are_the_pods_that_are_at_work(queue):
    found = queue(json.dumps({**STANDING, "rate": 0.5, "eta_s": None}))
    for name, state in (("a", {"running": {}}), ("b", {"terminated": {"exitCode": 0}}), ("c", {"waiting": {}})):
        meta = {"name": name, "namespace": SPACE, "labels": {"batch.kubernetes.io/job-name": "words-consumers"}}
        status = {"containerStatuses": [{"state": state}]}
        found._cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status})
    assert found.standing()["pods"] == 2


@pytest.mark.parametrize(
    "answer", ["", "{}", "[]", "\x1b[2J", json.dumps({**STANDING, "rate": "fast", "eta_s": None}), "²", "-1", "9" * 99]
)
def test_a_pod_that_answers_nonsense_is_named(queue, answer):
    found = queue(answer)
    for ask in (found.standing, found.retry, *([found.letters] if answer else [])):
        with pytest.raises(PrimageError, match=r"the queue of htc/vo\.primage\.eu\.local does not answer as one does") as caught:
            ask()
        assert caught.value.where == "Pod vo-dot-primage-dot-eu/words-queue-0"


def test_a_site_and_an_app_have_labels_of_their_own():
    from primage.contract.names import stack_label

    names = ["local", "batch/vo.primage.eu.local", "batch/vo.primage.eu.local--trial", "batch/a-at-b_vo.primage.eu.local--trial"]
    long = parse_stack_name("study-histology/" + "a" * 60 + "_vo.primage.eu.local--trial")
    labels = [stack_label(name) for name in (*names, str(long), str(StackName("x", "y", "v" * 70)))]
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 63 and label[0].isalnum() and label[-1].isalnum() for label in labels)
    assert labels[2] == "batch_vo.primage.eu.local--trial"
