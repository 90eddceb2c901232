"""The local site's registry: who may push, what nodes pull, and an image of one's own from its building to its job."""

import http.client
import json
import re
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from machine import output_on

from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.kubernetes.waiting import pods_of
from primage.local.images.base import rootfs_key
from primage.operations.logs import jobs_of
from primage.operations.site import site_handle
from primage.paths import cache_dir, log_dir
from primage.process import capture
from primage.projects.project import parse_stack_name

ADDRESS, PUSH, PULL = "10.89.77.11", 5000, 5001
FOLDER = Path("/var/lib/primage/local/registry")
STACK = parse_stack_name("batch/vo.primage.eu.local--own-image")
PINNED = re.compile(rf"{re.escape(ADDRESS)}:{PUSH}/primage/[a-z-]+@sha256:[0-9a-f]{{64}}")


def login(name):
    (found,) = json.loads((FOLDER / f"{name}.json").read_text())["auths"].values()
    return found["auth"]


def ask(port, method, path, name=""):
    """The status of a request with a login, or with none."""
    context = ssl.create_default_context(cafile=str(FOLDER / "certs/ca.crt"))
    connection = http.client.HTTPSConnection(ADDRESS, port, timeout=20, context=context)
    connection.request(method, path, headers={"Authorization": f"Basic {login(name)}"} if name else {})
    return connection.getresponse().status


UPLOAD = "/v2/primage/base/blobs/uploads/"


@pytest.mark.parametrize(
    ("port", "method", "path", "name", "status"),
    [
        (PULL, "GET", "/v2/primage/base/manifests/1", "", 401),
        (PULL, "GET", "/v2/primage/base/manifests/1", "pull", 200),
        (PULL, "POST", UPLOAD, "pull", 405),
        (PULL, "DELETE", "/v2/primage/base/manifests/sha256:" + "0" * 64, "pull", 405),
        (PUSH, "POST", UPLOAD, "pull", 401),
        (PUSH, "POST", UPLOAD, "", 401),
        (PUSH, "POST", UPLOAD, "push", 202),
    ],
)
def test_nodes_pull_and_operators_push(site, port, method, path, name, status):
    assert ask(port, method, path, name) == status


def test_logins_are_their_owners_and_in_no_log_and_no_argument(site):
    secrets = [login(name).encode() for name in ("push", "pull")]
    assert [path.stat().st_mode & 0o777 for path in FOLDER.glob("*.json")] == [0o600, 0o600]
    said = [path.read_bytes() for path in log_dir().glob("*.log")]
    for machine in ("front", "worker-1"):
        command = "journalctl --no-pager; cat /proc/[0-9]*/cmdline 2> /dev/null || true"  # some have ended meanwhile
        said.append(output_on(f"primage-local-{machine}", "sh", "-c", command).encode())
        listed = "find /etc/containerd/certs.d /etc/docker -name hosts.toml -not -perm 600 -o -name '*.json' -not -perm 600 || true"
        assert output_on(f"primage-local-{machine}", "sh", "-c", listed) == ""
    assert not any(secret in text for secret in secrets for text in said)


def test_what_the_site_runs_is_named_by_digest(site, cluster):
    deployments = cluster.list("apps/v1", "Deployment", labels="app.kubernetes.io/managed-by=primage,primage.eu/made-by=site")
    assert deployments
    for owner in [*deployments, *cluster.list("apps/v1", "DaemonSet", "kube-system", labels="app.kubernetes.io/name=kube-router")]:
        for container in owner["spec"]["template"]["spec"]["containers"]:
            assert PINNED.fullmatch(container["image"]), container["image"]


def test_every_reference_is_one_the_registry_has(site):
    references = site_handle("local").outputs.images.pinned
    assert {"primage/base:1", "primage/queue:1", "registry.k8s.io/pause:3.10.2"} <= set(references)
    for reference in references.values():
        repository, _, digest = reference.partition("/")[2].partition("@")
        assert ask(PULL, "GET", f"/v2/{repository}/manifests/{digest}", "pull") == 200, reference


def test_no_archives_are_kept(site):
    assert [path.name for path in (cache_dir() / "images").glob("*.tar")] == [f"rootfs-{rootfs_key()}.tar"]
    for machine in ("front", "worker-1"):
        listed = output_on(f"primage-local-{machine}", "ls", "/etc/containerd/certs.d")
        assert set(listed.split()) == {f"{ADDRESS}:{PUSH}", "registry.k8s.io"}


@pytest.fixture
def own_image(site, tmp_path):
    """One built as docs/how-to/bring-your-own-image.md says, in the host's own store."""
    (tmp_path / "segment.py").write_text("print('segmented by', __file__)\n")
    (tmp_path / "Containerfile").write_text(
        f'FROM {ADDRESS}:{PUSH}/primage/base:1\nCOPY segment.py /opt/segment.py\nENTRYPOINT ["python3", "/opt/segment.py"]\n'
    )
    # A store of its own stands for the host's, which tests leave alone.
    text = f'[storage]\ndriver = "overlay"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
    (tmp_path / "storage.conf").write_text(text)
    options = ["--isolation", "chroot", f"--authfile={FOLDER}/push.json", f"--cert-dir={FOLDER}/certs"]
    environment = {"CONTAINERS_STORAGE_CONF": str(tmp_path / "storage.conf"), "NO_PROXY": ADDRESS}
    capture(["buildah", "bud", *options, "--tag", "localhost/segment:1", str(tmp_path)], env=environment, timeout_s=300)
    yield environment
    subprocess.run(["buildah", "rmi", "--all", "--force"], env={**environment, "PATH": "/usr/bin:/bin"}, check=False, timeout=60)


def test_an_image_of_ones_own_is_built_pushed_and_run(own_image, cluster, monkeypatch):
    for name, value in own_image.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-m", "primage", "site", "local", "push", "localhost/segment:1", "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    reference = json.loads(done.stdout)["reference"]
    assert re.fullmatch(rf"{re.escape(ADDRESS)}:{PUSH}/segment@sha256:[0-9a-f]{{64}}", reference)
    engine = EmbeddedEngine()
    job = {"name": "segment", "image": reference, "command": [], "cpu": "100m", "memory": "64Mi"}
    try:
        engine.up(STACK, Options(overrides={"job": job}))
        ((_, ref),) = jobs_of(STACK)
        assert cluster.logs(ref.namespace, pods_of(cluster, ref)[-1]["metadata"]["name"]) == "segmented by /opt/segment.py\n"
    finally:
        engine.destroy(STACK, Options())
