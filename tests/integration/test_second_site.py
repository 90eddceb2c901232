"""A second site, operated from the same checkout and home as the local one: on a control plane of its own."""

import json
import os
import subprocess
import sys

import pytest
from authorizer_process import authorizer
from control_plane import control_plane
from documents import copy_checkout

from primage.clients.cluster import Cluster, Ref
from primage.local.toolchain.build import KUBERNETES_TOOLS
from primage.paths import state_dir

VO = "vo.second.eu"
SPACE = "vo-dot-second-dot-eu"


@pytest.fixture
def cluster(tmp_path):
    """The second site's, and its kubeconfig."""
    (tmp_path / "control-plane").mkdir()
    tools = KUBERNETES_TOOLS.build(tmp_path / "build.log", lambda *_: None)
    with control_plane(tools, tmp_path / "control-plane") as kubeconfig, authorizer(kubeconfig, tmp_path / "authorizer"):
        yield Cluster(kubeconfig), kubeconfig


@pytest.fixture
def checkout(repository, tmp_path):
    """One that may be written to."""
    return copy_checkout(repository, tmp_path / "checkout")


@pytest.fixture
def primage(checkout, site):
    def run(*arguments, fails=False):
        done = subprocess.run(
            [sys.executable, "-m", "primage", *arguments, "--json"],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return json.loads(done.stdout)

    yield run
    for path in state_dir().rglob("second.*"):
        path.unlink()


def test_a_second_site_comes_up_beside_the_first_and_goes_without_it(cluster, checkout, primage):
    there, kubeconfig = cluster
    before = primage("preview", "local")["counts"]
    primage("site", "new", "second", "--vo", VO, "--gid", "20005", "--kubeconfig", kubeconfig, "--registry", "registry.example.org")
    assert primage("validate", "second", "local")["problems"] == []
    made = primage("up", "second")
    assert set(made["counts"]) == {"create"}
    assert set(primage("outputs", "second")["site"]["vos"]) == {VO}
    assert there.get(Ref("v1", "Namespace", SPACE)), "it is on its own cluster"
    assert primage("preview", "second")["changes"] == []
    assert primage("preview", "local")["counts"] == before, "and the first one is what it was"
    assert "protected" in primage("destroy", "second", fails=True)["error"]["what"], "as every real site is"
    file = checkout / "Pulumi.second.yaml"
    file.write_text(f"{file.read_text()}    protect: false\n")
    primage("up", "second")
    primage("destroy", "second")
    assert there.get(Ref("v1", "Namespace", SPACE)) is None
    assert primage("preview", "local")["counts"] == before
