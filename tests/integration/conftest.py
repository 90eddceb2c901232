"""The standing local site, started once for all tests that need it, and small programs to try the engine with."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from debian import ensure_program
from turns import stands, turn

from primage.clients.cluster import Cluster, Ref
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.local.site import LocalSite
from primage.projects.project import StackName, parse_stack_name

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "primage-engine-test"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs the site."""
    item.add_marker(pytest.mark.site)
    item.add_marker(pytest.mark.timeout(1200))


POLITE = 10
"""How nice, in the operating system's sense, is what does not need the site."""
STAND_UP_S = 3600
"""How long a site may take from empty caches, with Pulumi's engine built beside it. Each of its steps has a limit of its own."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Function) -> Generator[None, object, object]:
    """What needs no site leaves the processors to the process that brings it up: all others wait for that one."""
    if stands(os.environ.get("PYTEST_XDIST_TESTRUNUID", "")).exists():
        return (yield)
    if "site" in item.fixturenames:
        item.add_marker(pytest.mark.timeout(STAND_UP_S), append=False)
        return (yield)
    os.setpriority(os.PRIO_PROCESS, 0, POLITE)
    try:
        return (yield)
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """Slurm for the tests of one file: some fill it, restart it, or take its disk away."""
    with turn("slurm"):
        yield


@pytest.fixture
def browser() -> Iterator[Any]:
    """Debian's chromium, for one test only: meanwhile nothing else runs an event loop in this thread, as the engine does."""
    from playwright.sync_api import sync_playwright

    ensure_program("chromium", "chromium")
    with sync_playwright() as driver:
        # This machine's user is root and has no name spaces to give away: the sandbox cannot be had.
        found = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def kubeconfig(site: LocalSite) -> str:
    """Path of its kubeconfig."""
    return "/var/lib/primage/local/kubeconfig"


@pytest.fixture(scope="session")
def cluster(kubeconfig: str) -> Cluster:
    """A connection to its API server."""
    return Cluster(kubeconfig)


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> Any:
    """Whoever administers the realm of the site's Keycloak."""
    from people import administrator

    return administrator(cluster)


HEAD = """
import os
import pulumi
import pulumi_kubernetes as kubernetes
from primage.components.labels import label_everything
label_everything(stack='tiny', site='tiny')
provider = kubernetes.Provider('cluster', kubeconfig=os.environ['TEST_KUBECONFIG'])
opts = pulumi.ResourceOptions(provider=provider)
N = {namespace!r}
def on(*needs, **more):
    return pulumi.ResourceOptions(provider=provider, depends_on=list(needs), **more)
space = kubernetes.core.v1.Namespace('space', metadata={{'name': N}}, opts=opts)
def meta(name, **more):
    return {{'name': name, 'namespace': space.metadata.name, **more}}
def job(name, script, needs=(), **settings):
    container = {{'name': 'c', 'image': settings.pop('image', '10.89.77.11:5000/primage/base:1'), 'command': ['sh', '-c', script],
                  'resources': settings.pop('resources', None)}}
    pod = {{'restartPolicy': 'Never', 'containers': [container], **settings.pop('pod', {{}})}}
    return kubernetes.batch.v1.Job(name, metadata=meta(name, **settings.pop('meta', {{}})),
        spec={{'backoffLimit': 0, 'template': {{'spec': pod}}, **settings}}, opts=on(*needs))
"""


@pytest.fixture
def program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kubeconfig: str, cluster: Cluster
) -> Iterator[Callable[..., StackName]]:
    """Writes the body of a small site program; its stack is destroyed afterwards."""
    repository = tmp_path / "repository"
    (repository / "infra").mkdir(parents=True)
    runtime = {"name": "python", "options": {"virtualenv": sys.prefix}}
    (repository / "Pulumi.yaml").write_text(json.dumps({"name": "primage", "main": "infra/", "runtime": runtime}))
    settings = {"cluster": {"kubeconfig": kubeconfig}, "protect": False}
    (repository / "Pulumi.tiny.yaml").write_text(json.dumps({"config": {"primage:site": settings}}))
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(repository))
    monkeypatch.setenv("PRIMAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TEST_KUBECONFIG", os.environ.get("TEST_KUBECONFIG", kubeconfig))
    name = parse_stack_name("tiny")

    def write(body: str) -> StackName:
        (repository / "infra/__main__.py").write_text(HEAD.format(namespace=NAMESPACE) + textwrap.dedent(body))
        return name

    yield write
    monkeypatch.setenv("TEST_KUBECONFIG", kubeconfig)
    EmbeddedEngine().destroy(name, Options())
    assert cluster.get(Ref("v1", "Namespace", NAMESPACE)) is None
