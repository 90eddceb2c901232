"""What the client makes of addresses and of what pods say, without a server."""

import json
from types import SimpleNamespace

import pytest
from issuer import fake_issuer
from websocket import ABNF

from primage.clients import cluster
from primage.clients.cluster import Bounds, Cluster, Ref
from primage.errors import PrimageError


class Socket:
    """Says the frames it was given, one after the other, as often as asked for the last one."""

    def __init__(self, *frames, endless=b""):
        self.frames = [*frames]
        self.endless = endless

    def settimeout(self, _):
        return None

    def recv_data_frame(self, control_frame):
        if self.frames:
            return ABNF.OPCODE_BINARY, SimpleNamespace(data=self.frames.pop(0))
        return (ABNF.OPCODE_BINARY, SimpleNamespace(data=self.endless)) if self.endless else (ABNF.OPCODE_CLOSE, None)


def test_a_pods_answer_is_put_together_by_channel():
    said = cluster._conversation(Socket(b"\x01one ", b"\x02err", b"", b"\xffx", b"\x01two", b"\x03{}"), 10)
    assert said == {1: b"one two", 2: b"err", 3: b"{}"}


def test_a_pod_that_prints_without_end_is_not_listened_to_for_ever():
    with pytest.raises(cluster._TooMuchError):
        cluster._conversation(Socket(endless=b"\x01" + bytes(1_000_000)), 60)
    with pytest.raises(cluster._TooMuchError):
        cluster._conversation(Socket(b"\x01" + bytes(600), b"\x02" + bytes(600)), 60, 1000)
    with pytest.raises(TimeoutError):
        cluster._conversation(Socket(endless=b"\x09"), 0.01)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"status": "Success"}, 0),
        ({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}}, 7),
        ({"status": "Failure", "message": "container not found", "details": {}}, None),
        ({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "²"}]}}, None),
        ([], None),
        (None, None),
    ],
)
def test_how_a_command_ended(told, code):
    assert cluster._exit_status(json.dumps(told).encode()) == code


def test_a_command_that_was_never_run_has_no_status():
    assert cluster._exit_status(b"") is None


@pytest.mark.parametrize("part", ["name", "namespace"])
def test_a_name_is_one_part_of_a_path_whatever_is_in_it(part):
    client = Cluster.__new__(Cluster)
    client._kind = lambda *_: ("configmaps", True)
    ref = Ref("v1", "ConfigMap", **{"name": "c", "namespace": "n", part: "../../namespaces/other?x=#"})
    path = client._path(ref)
    assert path.count("/") == 6
    assert not set(path) & set("?#")


def test_a_watch_of_all_begins_with_all_and_goes_on_from_there(monkeypatch):
    pods = [{"metadata": {"name": name}, "phase": "old"} for name in "ab"]
    client, asked = object.__new__(Cluster), []
    monkeypatch.setattr(Cluster, "_call", lambda *_: {"items": pods, "metadata": {"resourceVersion": "7"}})
    monkeypatch.setattr(Cluster, "_path", lambda *_: "/pods")

    def stream(_, path, about, timeout_s):
        asked.append((path, dict(about), timeout_s))
        yield "MODIFIED", {"metadata": {"name": "a"}, "phase": "new"}
        yield "DELETED", {"metadata": {"name": "b"}}

    monkeypatch.setattr(Cluster, "_stream", stream)
    seen = [
        {pod["metadata"]["name"]: pod["phase"] for pod in now}
        for now in client.watch_all("v1", "Pod", "space", labels="x=y", timeout_s=2)
    ]
    assert seen == [{"a": "old", "b": "old"}, {"a": "new", "b": "old"}, {"a": "new"}]
    assert asked == [("/pods", {"labelSelector": "x=y", "resourceVersion": "7"}, 2)]


def test_with_bounds_neither_a_large_answer_nor_a_long_list_is_taken(tmp_path):
    with fake_issuer(tmp_path) as server:
        named = {"cluster": {"server": server.url, "certificate-authority": server.authority}, "name": "c"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [named],
            "users": [{"name": "c", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        }
        bounded = Cluster(json.dumps(config, indent=1), bounds=Bounds(objects=2, bytes_each=10_000))
        server.answers["/api/v1"] = [(200, {"resources": [{"name": "pods", "kind": "Pod", "namespaced": True}]})]
        pods = "/api/v1/namespaces/space/pods"
        server.answers[f"{pods}/small"] = [(200, {"metadata": {"name": "small"}})]
        server.answers[f"{pods}/large"] = [(200, {"metadata": {"name": "x" * 20_000}})]
        server.answers[f"{pods}?limit=100"] = [(200, {"items": [{"metadata": {}}] * 3, "metadata": {}})]
        assert bounded.get(Ref("v1", "Pod", "small", "space")) == {"metadata": {"name": "small"}}
        with pytest.raises(PrimageError, match="more than 10000 bytes"):
            bounded.get(Ref("v1", "Pod", "large", "space"))
        with pytest.raises(PrimageError, match="more than 2 Pod objects in space"):
            bounded.list("v1", "Pod", "space")
        assert bounded.get(Ref("v1", "Pod", "gone", "space")) is None, "an error is read as any answer"
        assert bounded.get(Ref("v1", "Pod", "small", "space")), "and goes on after that"


def test_a_list_as_it_is_written_down_is_of_metadata_alone_and_no_older_than_the_one_before(monkeypatch):
    client, asked = object.__new__(Cluster), []
    client._kind = lambda *_: ("jobs", True)

    def raw(_self, method, path, query, *, accept):
        asked.append((method, path, dict(query), accept))
        return SimpleNamespace(data=b"{}")

    monkeypatch.setattr(Cluster, "_raw", raw)
    jobs = Ref("batch/v1", "Job", "", "n")
    assert client.listed(jobs, labels="a=b", most=9, metadata=True) == b"{}"
    client.listed(jobs, labels="a=b", most=9, newer="7")
    client.listed(jobs, labels="a=b", most=9, newer="7", after="next")
    first, second, third = asked
    assert first[:3] == ("GET", "/apis/batch/v1/namespaces/n/jobs", {"limit": "9", "labelSelector": "a=b"})
    assert "as=PartialObjectMetadataList" in first[3]
    assert second[2:] == ({**first[2], "resourceVersion": "7", "resourceVersionMatch": "NotOlderThan"}, "application/json")
    assert third[2] == {**first[2], "continue": "next"}, "where a list goes on, its version is known"
