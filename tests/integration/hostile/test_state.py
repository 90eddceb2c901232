"""A member writes the state of a run in their own namespace; an operator then runs ordinary commands on that run."""

import base64
import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import zlib
from contextlib import redirect_stderr, redirect_stdout
from functools import partial

import pytest
from hostile import create

from primage.cli.root import main
from primage.clients.cluster import Ref
from primage.errors import ExitCode

SPACE, OTHER_SPACE = "member1-at-primage-dot-eu", "member2-at-primage-dot-eu"
RUN = "batch/member1@primage.eu_vo.primage.eu.local--hostile"
STACK = f"batch/{SPACE}_vo.primage.eu.local--hostile"
NAME = "primage-state.batch.hostile"
URN = f"urn:pulumi:{STACK.removeprefix('batch/')}::primage-batch"
DYNAMIC = "pulumi-python:dynamic:Resource"
LOOKING = ("status", "why", "logs")
"""They read no state, but the cluster, on which nothing of the stack is."""
COMMANDS = (*LOOKING, "outputs", "preview", "up", "destroy")
LARGEST_KIB = 300_000
"""Of a command's memory; one that reads no state has 150,000."""


def entry(name, kubeconfig, ref=None, /, **more):
    """A resource as the first form of states had it, with all that this form believed."""
    base = {"urn": f"{URN}::kubernetes:core/v1:ConfigMap::{name}", "type": "kubernetes:core/v1:ConfigMap", "name": name}
    base |= {"status": "ready", "order": 1, "level": 1, "digest": "", "protect": False, "retain": False, "dynamic": {}}
    return {**base, "ref": ref and {**vars(ref)}, "kubeconfig": kubeconfig, "context": "", **more}


def state(*entries):
    body = {"version": 1, "written": 1.0, "stack": STACK, "outputs": {}, "secret_outputs": []}
    return gzip.compress(json.dumps({**body, "resources": {item["urn"]: item for item in entries}}).encode())


@pytest.fixture
def write(tenant):
    """Writes the run's state, as the member."""
    secret = Ref("v1", "Secret", NAME, SPACE)

    def put(packed):
        tenant.cluster.delete(secret, propagation="Background")
        metadata = {"name": NAME, "namespace": SPACE}
        data = {"state": base64.b64encode(packed).decode()}
        kept = {"apiVersion": "v1", "kind": "Secret", "type": "primage.eu/state", "metadata": metadata, "data": data}
        create(tenant.cluster, kept)

    yield put
    for ref in (secret, Ref("batch/v1", "Job", "hello-hostile", SPACE)):
        tenant.cluster.delete(ref, propagation="Background")


@pytest.fixture
def bystander(cluster):
    """A config map of another member, which the first one can neither see nor touch."""
    ref = Ref("v1", "ConfigMap", "bystander", OTHER_SPACE)
    metadata = {"name": ref.name, "namespace": ref.namespace}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}, manager="somebody")
    yield ref
    cluster.delete(ref)


@pytest.fixture
def operator(monkeypatch):
    """Runs a command as the operator, in this process; how it ended, and what it said."""

    def run(*arguments):
        said = io.StringIO()
        monkeypatch.setattr(sys, "argv", ["primage", *arguments])
        with redirect_stdout(said), redirect_stderr(said):
            try:
                main()
            except SystemExit as end:
                return end.code or 0, said.getvalue()
        return 0, said.getvalue()

    return run


# Of a small process, since what a process was forked from counts as its own: the tests are large.
MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(done.returncode)
"""


@pytest.fixture
def measured(repository, tmp_path):
    """Runs a command as the operator; how it ended, what it said, and how much memory it had at most, in KiB."""

    def run(*arguments):
        command = [sys.executable, "-c", MEASURED, tmp_path / "memory", sys.executable, "-m", "primage", *arguments]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False, cwd=repository
        )
        return done.returncode, done.stdout, int((tmp_path / "memory").read_text())

    return run


def assert_refused(ends, words):
    """Each command that reads the state said why, in a sentence."""
    for command, code, said in ends:
        if command in LOOKING:
            assert "it is not up" in said
            continue
        assert code not in (0, ExitCode.DEFECT), said
        assert words in said
        assert "Traceback" not in said


def test_a_kubeconfig_in_a_state_runs_nothing(operator, write, kubeconfig, tmp_path):
    canary = tmp_path / "canary"
    given = f"""
apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: c, cluster: {{server: "https://127.0.0.1:1"}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
users:
- name: u
  user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: touch, args: [{canary}], interactiveMode: Never}}}}
"""
    ref = Ref("v1", "ConfigMap", "hello", SPACE)
    for command in COMMANDS:
        write(state(entry("c", given, ref)))
        operator(command, RUN)
        assert not canary.exists(), command


def test_a_pickle_in_a_state_is_not_loaded(operator, write, tmp_path):
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    kept = {"id": "x", "provider": base64.b64encode(pickle.dumps(Bomb())).decode(), "inputs": {}, "outputs": {}}
    for parent, commands, words in (
        ("", ("status", "destroy"), "that this primage does not know"),
        ("primage:app:Queue$", COMMANDS, "not in the stack's own namespace"),
    ):
        ends = []
        for command in commands:
            write(state(entry("q", "", type=DYNAMIC, urn=f"{URN}::{parent}{DYNAMIC}::q", dynamic=kept)))
            ends.append((command, *operator(command, RUN)))
            assert not canary.exists(), command
        assert_refused(ends, words)


def test_an_object_of_somebody_else_is_not_deleted(operator, write, bystander, cluster, kubeconfig):
    ends = []
    for command in COMMANDS:
        write(state(entry("c", kubeconfig, bystander)))
        ends.append((command, *operator(command, RUN)))
        assert cluster.get(bystander), command
    assert_refused(ends, f"it names {bystander}, which is not in {SPACE}, the stack's own namespace")


@pytest.mark.parametrize("ref", [Ref("v1", "Namespace", SPACE), Ref("v1", "ResourceQuota", "vo", SPACE)], ids=lambda ref: ref.kind)
def test_what_no_app_makes_is_not_deleted(operator, write, cluster, kubeconfig, ref):
    """Of the member's own namespace, but the site's: they have no right to it themselves."""
    write(state(entry("c", kubeconfig, ref)))
    before = cluster.get(ref)["metadata"]["uid"]
    code, said = operator("preview", RUN)
    assert code != 0
    assert "that no app makes" in said
    # Not `destroy`: on a program that believes the state it would take the namespace with all that is in it.
    assert cluster.get(ref)["metadata"]["uid"] == before


@pytest.mark.parametrize(
    "ref", [Ref("rbac.authorization.k8s.io/v1", "RoleBinding", "hpc-connector", SPACE)], ids=lambda ref: ref.kind
)
def test_what_the_site_made_in_the_namespace_is_not_deleted(operator, write, cluster, kubeconfig, ref):
    write(state(entry("c", kubeconfig, ref)))
    code, said = operator("preview", RUN, "--json")
    assert code == 0, said
    assert json.loads(said)["refused"] == [str(ref)]
    code, said = operator("destroy", RUN)
    assert code != 0
    assert "is not the stack's" in said
    assert cluster.get(ref)


def test_an_own_object_without_the_stacks_label_is_not_deleted(operator, write, tenant, cluster, kubeconfig):
    ref = Ref("v1", "ConfigMap", "mine", SPACE)
    tenant.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": SPACE}, "data": {"a": "1"}})
    try:
        write(state(entry("c", kubeconfig, ref)))
        code, said = operator("status", RUN, "--json")
        assert code == 0, said
        assert json.loads(said)["objects"] == []
        code, said = operator("preview", RUN, "--json")
        assert code == 0, said
        assert json.loads(said)["refused"] == [str(ref)]
        for command in ("up", "destroy"):
            code, said = operator(command, RUN)
            assert code != 0
            assert f"{ref} is listed in the stack's state and is not the stack's (written by kubectl" in said
            assert cluster.get(ref), command
            assert cluster.get(Ref("batch/v1", "Job", "hello-hostile", SPACE)) is None, "nothing else was touched"
    finally:
        tenant.try_to("delete", "configmap", "mine", "-n", SPACE)


def bomb():
    """700 MB in 0.7 MB, made piece by piece."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(1_000_000)) for _ in range(700)) + packer.flush()


@pytest.mark.parametrize("make", [bomb, partial(os.urandom, 712_000)], ids=["gzip", "base64"])
def test_a_state_of_a_megabyte_costs_little(measured, write, make):
    write(make())
    for command in ("status", "destroy"):
        code, said, memory = measured(command, RUN)
        assert_refused([(command, code, said)], "cannot be read")
        assert memory < LARGEST_KIB, command


def test_what_a_terminal_would_obey_is_not_printed(operator, write):
    """In a name, and in an output, which may hold any text."""
    kept = {"id": "x", "provider": "", "inputs": {"namespace": SPACE}, "outputs": {"namespace": SPACE}}
    urn = f"{URN}::primage:app:Queue${DYNAMIC}::q"
    write(state(entry("q", "", type=DYNAMIC, urn=urn, dynamic=kept, name="\x1b]0;owned\x07")))
    for command in COMMANDS:
        assert not {"\x1b", "\x07"} & set(operator(command, RUN)[1]), command
    body = json.loads(gzip.decompress(state()))
    write(gzip.compress(json.dumps({**body, "outputs": {"job": "\x1b]0;owned\x07"}}).encode()))
    code, said = operator("outputs", RUN)
    assert code == 0
    assert "owned" in said
    assert not {"\x1b", "\x07"} & set(said)
