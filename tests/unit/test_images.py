"""What short names of images stand for, from the site's settings to the pods a program declares."""

import hashlib
import http.server
import json
import shutil
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from primage.clients.registry import Manifest, Registry
from primage.components.queues.queue_credentials import make_credentials
from primage.contract.images import Images, UnknownImageError, in_pods, parse_references
from primage.errors import PrimageError
from primage.local.images import push, storage, wheels
from primage.local.images.catalogue import (
    BASE,
    HPC_CONNECTOR,
    HPC_CONNECTOR_LIBRARIES,
    QUEUE,
    STUDY,
    Image,
    app_images,
    connector_images,
)
from primage.local.turn import turn
from primage.projects.images import images_of

DIGEST = "sha256:" + "a1" * 32
PINNED = f"registry.example.org:5000/primage/base@{DIGEST}"
SITE = Images(
    registry="registry.example.org:5000", pinned={"primage/base:1": PINNED, "redis:7": f"registry.example.org/redis@{DIGEST}"}
)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("primage/base:1", PINNED),
        ("redis:7", f"registry.example.org/redis@{DIGEST}"),
        ("primage/queue:1", "registry.example.org:5000/primage/queue:1"),
        ("docker.io/library/python:3.11", "docker.io/library/python:3.11"),
        (PINNED, PINNED),
    ],
)
def test_a_name_stands_for_a_digest_a_tag_in_the_sites_registry_or_itself(name, reference):
    assert SITE.resolve(name) == reference


def test_an_image_of_ours_on_a_site_without_a_registry_is_refused():
    with pytest.raises(UnknownImageError, match="which registry has image primage/base:1"):
        Images().resolve("primage/base:1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"primage/base:1": 1}',
        '{"primage/base:1": "registry.example.org/primage/base:1"}',
        f'{{"primage/base:1": "registry.example.org/primage/base@{DIGEST[:-1]}"}}',
        f'{{"../base:1": "{PINNED}"}}',
        f'{{"primage/base:1": "{PINNED} --privileged"}}',
        f'{{"primage/base:1": "{PINNED}\\n"}}',
        " " * 1_000_001,
    ],
)
def test_a_file_that_is_not_one_of_references_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        parse_references(text)


def test_without_a_file_names_stand_for_tags_and_a_wrong_one_is_said(tmp_path):
    assert images_of("registry.example.org", "").resolve(BASE) == "registry.example.org/primage/base:1"
    assert images_of("registry.example.org", str(tmp_path / "none")).resolve(BASE) == "registry.example.org/primage/base:1"
    (tmp_path / "images.json").write_text(json.dumps({BASE: PINNED}))
    assert images_of("registry.example.org", str(tmp_path / "images.json")).resolve(BASE) == PINNED
    (tmp_path / "images.json").write_text('{"primage/base:1": "anything"}')
    with pytest.raises(PrimageError, match=r"primage/base:1.*images\.json.*primage site local up"):
        images_of("registry.example.org", str(tmp_path / "images.json"))


def test_containers_are_found_however_deep_and_nothing_else_is_touched():
    pod = {"containers": [{"name": "a", "image": BASE}], "initContainers": [{"name": "b", "image": BASE, "args": [BASE]}]}
    job = {"template": {"metadata": {"annotations": {"image": BASE}}, "spec": pod}}
    found = in_pods({"jobTemplate": {"spec": job}, "image": BASE}, SITE)
    template = found["jobTemplate"]["spec"]["template"]
    assert [c["image"] for c in template["spec"]["containers"] + template["spec"]["initContainers"]] == [PINNED, PINNED]
    assert template["spec"]["initContainers"][0]["args"] == [BASE]
    assert template["metadata"]["annotations"]["image"] == found["image"] == BASE


BODY = json.dumps({"schemaVersion": 2, "config": {"digest": "sha256:0f"}}).encode()
LOGIN = "cHVzaDpzZWNyZXQ="


class FakeRegistry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 200 if self.path == "/v2/primage/base/manifests/1" else 404
        status = status if self.headers["Authorization"] == f"Basic {LOGIN}" else 401
        self.send_response(status)
        self.end_headers()
        self.wfile.write(BODY if status == 200 else b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture
def registry(tmp_path):
    """One that answers over TLS on loopback."""
    for name, text in make_credentials(["localhost"]).items():
        (tmp_path / name).write_text(text)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeRegistry)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"localhost:{server.server_port}"
    (tmp_path / "push.json").write_text(json.dumps({"auths": {address: {"auth": LOGIN}}}))
    yield Registry(address, tmp_path / "push.json", tmp_path / "ca.crt")
    server.shutdown()
    server.server_close()


def test_a_manifests_digest_is_that_of_its_bytes(registry):
    assert registry.manifest("primage/base", "1") == Manifest(f"sha256:{hashlib.sha256(BODY).hexdigest()}", "sha256:0f")
    assert registry.manifest("primage/base", "2") is None


def test_a_refused_login_is_said_without_the_password(registry, tmp_path):
    text = (tmp_path / "push.json").read_text().replace(LOGIN, "d3Jvbmc6c2VjcmV0")
    (tmp_path / "push.json").write_text(text)
    with pytest.raises(PrimageError, match="HTTP 401") as caught:
        registry.manifest("primage/base", "1")
    assert "d3Jvbmc6c2VjcmV0" not in str(caught.value)


def test_a_registry_of_another_authority_is_not_believed(registry, tmp_path):
    (tmp_path / "ca.crt").write_text(make_credentials(["localhost"])["ca.crt"])
    with pytest.raises(PrimageError, match="its certificate is not accepted"):
        registry.manifest("primage/base", "1")


@pytest.fixture
def pushing(tmp_path, monkeypatch):
    """A registry that has nothing yet, in this process; says what was pushed to it."""
    there, commands = {}, []
    ids = {
        "localhost/primage/base:1": "0a",
        "localhost/primage/queue:1": "0b",
        "registry.k8s.io/pause:3.10.2": "0c",
        "segment:1": "0d",
    }

    def run(command, *, env, log, timeout_s):
        commands.append(command)
        target = command[-1].removeprefix("docker://registry.test:5000/")
        there[target] = Manifest("sha256:" + ids[command[-2]] * 32, f"sha256:{ids[command[-2]]}")

    monkeypatch.setattr(push, "run_logged", run)
    monkeypatch.setattr(storage, "image_ids", lambda: ids)
    monkeypatch.setattr(storage, "environment", dict)
    monkeypatch.setattr(Registry, "manifest", lambda self, repository, tag: there.get(f"{repository}:{tag}"))
    return push.SiteRegistry("registry.test:5000", tmp_path, tmp_path / "images.json"), commands, ids


PAUSE = "registry.k8s.io/pause:3.10.2"


def test_an_image_is_pushed_once_and_again_when_it_is_another(pushing, tmp_path):
    registry, commands, ids = pushing
    images = [
        Image(BASE, "images/base"),
        Image(PAUSE, "images/pause"),
        Image("primage/machine:1", "images/machine", on_nodes=False),
    ]
    found = push.push_images(images, registry, log=tmp_path / "log")
    assert found[BASE] == "registry.test:5000/primage/base@sha256:" + "0a" * 32
    assert found[PAUSE].startswith("registry.test:5000/registry.k8s.io/pause@sha256:")
    assert len(commands) == len(found) == 2
    assert parse_references(registry.references.read_text()) == found
    assert push.push_images(images, registry, log=tmp_path / "log") == found
    assert len(commands) == 2
    ids["localhost/primage/base:1"] = "ff"
    assert push.push_images(images[:1], registry, log=tmp_path / "log") == {**found, BASE: found[BASE].replace("0a", "ff")}
    assert len(commands) == 3


def test_no_password_is_an_argument_of_a_push(pushing, tmp_path):
    registry, commands, _ = pushing
    (tmp_path / "push.json").write_text(json.dumps({"auths": {registry.address: {"auth": LOGIN}}}))
    push.push_images([Image(BASE, "images/base")], registry, log=tmp_path / "log")
    assert not any(LOGIN in argument for command in commands for argument in command)
    assert f"--authfile={tmp_path / 'push.json'}" in commands[0]


def test_an_image_of_ones_own_is_pushed_under_its_name_and_named_by_digest(pushing, tmp_path):
    registry, commands, _ = pushing
    assert push.push_own("segment:1", "", registry, tmp_path / "log") == "registry.test:5000/segment@sha256:" + "0d" * 32
    assert push.push_own("segment:1", "team/cut:2", registry, tmp_path / "log").startswith("registry.test:5000/team/cut@")
    assert commands[-1][-1] == "docker://registry.test:5000/team/cut:2"


@pytest.mark.parametrize("name", ["primage/base:1", "registry.k8s.io/pause:3", "Segment:1", "../segment", "segment:1 --all", "-x"])
def test_the_sites_own_images_and_what_is_no_name_are_not_pushed_over(pushing, tmp_path, name):
    registry, commands, _ = pushing
    with pytest.raises(PrimageError, match="--as"):
        push.push_own("segment:1", name, registry, tmp_path / "log")
    assert commands == []


def test_a_changed_line_of_our_own_code_leaves_the_layers_below_it(repository, tmp_path):
    """What a connector, a queue or the study stands on is an image of its own, whose key does not know our code."""
    for part in ("images", "services", "apps/study-histology"):
        shutil.copytree(repository / part, tmp_path / part)
    libraries = tmp_path / "libraries"
    (libraries / "lib").mkdir(parents=True)

    def keys():
        found = {"": "", BASE: "base"}
        for image in app_images(tmp_path, lambda requirements: libraries):
            found[image.name] = image.content_key(tmp_path, found[image.base])
        return found

    before = keys()
    for name in (
        "services/hpc_connector/hpc_connector",
        "services/htc_queue/htc_queue",
        "apps/study-histology/package/study_histology",
    ):
        with (tmp_path / name / "__init__.py").open("a") as stream:
            stream.write("# a line\n")
    changed = {name for name, key in keys().items() if before[name] != key}
    assert changed == {HPC_CONNECTOR, QUEUE, STUDY}


def test_the_layers_below_are_not_pushed_by_themselves(repository):
    below, connector = connector_images(repository, lambda requirements: requirements.parent)
    assert (below.name, below.on_nodes) == (HPC_CONNECTOR_LIBRARIES, False)
    assert (connector.base, connector.on_nodes) == (below.name, True)


def test_libraries_are_unpacked_once_whoever_else_wants_them_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_CACHE", str(tmp_path / "cache"))
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("a==1\n")
    waits, installed = threading.Event(), []

    def install(command, **_):
        assert waits.wait(30), "the second one does not wait for the first"
        part = Path(command[command.index("--target") + 1])
        part.mkdir()
        installed.append(part)

    monkeypatch.setattr(wheels, "run_logged", install)
    monkeypatch.setattr(wheels, "turn", partial(turn, waiting=waits.set))
    with ThreadPoolExecutor(2) as pool:
        unpacked = [pool.submit(wheels.unpack_wheels, requirements, tmp_path / "log") for _ in range(2)]
        assert len({each.result(60) for each in unpacked}) == len(installed) == 1
