"""The site program through both engines, from nothing: on a control plane of its own, so that the local site stands."""

import json
import subprocess

import pytest
from authorizer_process import authorizer
from both_engines import Primage, owned, require_same
from control_plane import control_plane

from primage.clients.cluster import Cluster, Ref
from primage.contract.custom_resources import made_of
from primage.contract.names import CONFIG_MAP, LABEL_STACK, SYSTEM_NAMESPACE
from primage.contract.offer import CONFIG_MAP as CONFIG_MAP_OF_OFFER
from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.engine.ownership import managers_of
from primage.local.gateway import gateway_of, install_kinds
from primage.local.toolchain.build import CONTOUR_TOOLS, KUBERNETES_TOOLS
from primage.projects.connection import SETTINGS
from primage.projects.project import StackName, project_of, stack_config

SITE = "local"
ELSEWHERE = ("--config", "site.mount_point=/elsewhere")
SPACE = "vo-dot-primage-dot-eu"
GENERATED = {
    *("keycloak", "login-client", "keycloak-certificate", "institution-hospital", "portal-client", "portal-certificate"),
    *("gateway-certificate", "contour"),
    *("image-archive", "image-archive-certificate", "clinical-records-certificate", "clinical-records-client"),
    *(f"image-archive-{vo}-dot-primage-dot-eu" for vo in ("vo", "training")),
}
"""Secrets that nobody has chosen the content of."""


@pytest.fixture(scope="module")
def kinds():
    objects = EmbeddedEngine().render(StackName(SITE), Options())
    # Of a generated Secret pods name which one it is.
    return sorted({("v1", "Secret"), *((obj["apiVersion"], obj["kind"]) for obj in [*objects, *made_of(objects)])})


@pytest.fixture(scope="module")
def empty_site(pulumi_environment, tmp_path_factory):
    """`primage` for a site on an empty control plane, and the cluster."""
    folder = tmp_path_factory.mktemp("control-plane")
    with control_plane(KUBERNETES_TOOLS.build(folder / "build.log", lambda *_: None), folder) as kubeconfig:
        gateway = gateway_of(stack_config(project_of(StackName(SITE)), StackName(SITE))[SETTINGS])
        CONTOUR_TOOLS.build(folder / "build.log", lambda *_: None)
        install_kinds(gateway, folder / "kinds.log", kubeconfig)
        here = {**pulumi_environment(), "PRIMAGE_KUBECONFIG": kubeconfig, "PRIMAGE_HOME": str(folder / "home")}
        with authorizer(kubeconfig, folder / "authorizer") as process:
            yield Primage(here), Cluster(kubeconfig), process


@pytest.fixture
def images(tmp_path):
    """References of its own: those of the local site change when its images are pushed, which may be at this moment."""
    path = tmp_path / "images.json"
    path.write_text(json.dumps({"primage/base:1": f"registry.example.org/primage/base@sha256:{64 * '0'}"}))
    return ("--config", f"site.images.references={path}")


def by_program(obj):
    """Whether the program declared it, and not the authorizer made it."""
    return f"primage:primage/{SITE}" in managers_of(obj)


def secrets(cluster):
    """What is generated for the login server, which no program says the content of."""
    return cluster.list("v1", "Secret", SYSTEM_NAMESPACE, labels=f"{LABEL_STACK}={SITE}")


def committed():
    return subprocess.run(["git", "status", "--porcelain", "--", "*.yaml"], capture_output=True, text=True, check=True).stdout


def test_both_engines_make_the_same_site_and_one_takes_over_the_others(empty_site, kinds, images):
    primage, cluster, process = empty_site
    before = committed()

    def objects():
        return owned(cluster, SITE, kinds)

    assert primage("preview", SITE, "--engine", "pulumi", *images)["counts"].keys() == {"create"}
    assert primage("outputs", SITE, "--engine", "pulumi") == {}
    primage("up", SITE, "--engine", "pulumi", *images)
    pulumis = objects()
    assert primage("preview", SITE, "--engine", "pulumi", *images)["changes"] == []
    primage("destroy", SITE, "--engine", "pulumi")
    assert objects() == {}
    # A pod goes with its site: this one has watched definitions that are gone.
    process.kill()
    process.start()

    made = primage("up", SITE, "--engine", "embedded", *images)
    ours = objects()
    declared = [obj for obj in ours.values() if by_program(obj)]
    generated = len(secrets(cluster))
    assert generated == len(GENERATED)
    assert made["counts"] == {"create": len(declared) + generated}
    assert len(declared) < len(ours)
    require_same("site", ours, pulumis)

    moved = primage("move", SITE, "--to", "pulumi", *images)
    assert moved["objects"] == len(declared)
    assert objects() == ours, "a move touches nothing"
    assert primage("preview", SITE, "--engine", "pulumi", *images)["counts"] == {"same": len(declared) + generated}
    assert primage("outputs", SITE, "--engine", "pulumi") == made["outputs"]

    changed = primage("up", SITE, "--engine", "pulumi", *images, *ELSEWHERE)
    assert {change["action"] for change in changed["changes"]} == {"update"}
    config = cluster.get(Ref("v1", "ConfigMap", CONFIG_MAP, SPACE))
    assert config["data"]["primage.storage"] == "/elsewhere"
    offer = cluster.get(Ref("v1", "ConfigMap", CONFIG_MAP_OF_OFFER, SYSTEM_NAMESPACE))
    assert managers_of(offer) == [f"primage:primage/{SITE}"], "the same manager goes on, so that nothing is a conflict"
    primage("destroy", SITE, "--engine", "pulumi")
    assert objects() == {}
    assert committed() == before
