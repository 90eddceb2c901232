"""Official releases: taken where they are pinned and served, refused when they are others, and built elsewhere."""

import hashlib
import http.server
import io
import socket
import tarfile
import threading
from dataclasses import replace

import pytest

from primage.clients import downloads
from primage.clients.downloads import NotServedError, WrongDigestError, download
from primage.errors import PrimageError
from primage.local.toolchain import build, official
from primage.local.toolchain.official import RELEASES, Source, read_pins, take_releases

KUBEADM = RELEASES["kubeadm"].place
ETCD = RELEASES["etcd"]


def archive_of(member, content):
    """A release as etcd's and CoreDNS's are."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in ((f"{member}.txt", b"not this"), (member, content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


FILES = {KUBEADM: b"kubeadm, official", ETCD.place: archive_of(ETCD.member, b"etcd, official")}
PINS = {place: hashlib.sha256(content).hexdigest() for place, content in FILES.items()}


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror on loopback that serves FILES below their official names; says what it was asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path.lstrip("/"))
            content = FILES.get(asked[-1])
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    monkeypatch.setenv("PRIMAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "cache").mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()


def take(source, names, folder):
    return take_releases(source, names, folder, lambda what: None)


def test_what_is_pinned_and_served_is_taken(mirror, tmp_path):
    assert take(Source(mirror[0], PINS), ["kubeadm", "etcd"], tmp_path) == {}
    assert (tmp_path / "kubeadm").read_bytes() == b"kubeadm, official"
    assert (tmp_path / "etcd").read_bytes() == b"etcd, official"
    assert (tmp_path / "etcd").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "cache").iterdir()] == []


def test_another_file_than_the_pinned_one_is_refused_and_nothing_of_it_stays(mirror, tmp_path):
    pins = {**PINS, KUBEADM: "0" * 64}
    with pytest.raises(WrongDigestError, match=f"{KUBEADM} is not the file that was pinned"):
        take(Source(mirror[0], pins), ["kubeadm"], tmp_path / "tools")
    assert not (tmp_path / "tools/kubeadm").exists()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == []


def test_an_archive_that_does_not_hold_the_binary_is_refused(mirror, tmp_path, monkeypatch):
    monkeypatch.setitem(FILES, ETCD.place, archive_of("other", b""))
    pins = {ETCD.place: hashlib.sha256(FILES[ETCD.place]).hexdigest()}
    with pytest.raises(WrongDigestError, match=f"does not hold {ETCD.member}"):
        take(Source(mirror[0], pins), ["etcd"], tmp_path)


def test_what_is_not_pinned_is_not_asked_for(mirror, tmp_path):
    left = take(Source(mirror[0], {KUBEADM: PINS[KUBEADM]}), ["etcd", "kubeadm", "pulumi"], tmp_path)
    assert left == {"etcd": f"{ETCD.place} is not pinned", "pulumi": "it has no official release file"}
    assert mirror[1] == [KUBEADM]


def test_a_file_that_a_mirror_has_not_got_leaves_the_others(mirror, tmp_path, monkeypatch):
    monkeypatch.delitem(FILES, KUBEADM)
    assert take(Source(mirror[0], PINS), ["kubeadm", "etcd"], tmp_path) == {"kubeadm": f"{mirror[0]}{KUBEADM}: HTTP 404"}


def test_a_server_that_does_not_answer_is_asked_once(tmp_path, monkeypatch):
    """It takes the connection and says nothing."""
    monkeypatch.setattr(downloads, "ANSWER_S", 0.2)
    monkeypatch.setenv("PRIMAGE_CACHE", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        left = take(Source(f"http://127.0.0.1:{silent.getsockname()[1]}/", PINS), ["kubeadm", "etcd"], tmp_path)
        assert set(left) == {"kubeadm", "etcd"}
        assert len(set(left.values())) == 1
        assert "timed out" in left["etcd"]
        silent.settimeout(5)
        silent.accept()[0].close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_only_web_servers_are_asked(tmp_path):
    (tmp_path / "secret").write_text("x")
    with pytest.raises(NotServedError, match="not the URL of a web server"):
        download(f"file://{tmp_path}/secret", tmp_path / "out", hashlib.sha256(b"x").hexdigest())


def test_a_tool_set_takes_releases_says_so_and_needs_no_go(mirror, tmp_path, monkeypatch):
    (tmp_path / "pins").write_text("# checked against the release notes\n" + "".join(f"{d}  {p}\n" for p, d in PINS.items()))
    monkeypatch.setenv("PRIMAGE_MIRROR", mirror[0].rstrip("/"))
    monkeypatch.setenv("PRIMAGE_PINS", str(tmp_path / "pins"))
    monkeypatch.setenv("PATH", "/nowhere")
    tools = [tool for tool in build.KUBERNETES_TOOLS.tools if tool.name in ("kubeadm", "etcd")]
    said = []
    folder = replace(build.KUBERNETES_TOOLS, tools=tuple(tools)).build(tmp_path / "log", lambda *_: None, said.append)
    assert (folder / "kubeadm").read_bytes() == b"kubeadm, official"
    assert said == [f"kubeadm, etcd: official releases from {mirror[0]}, with the pinned checksums"]


def test_what_is_not_taken_is_built_and_why_is_said(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_MIRROR", mirror[0])
    monkeypatch.delenv("PRIMAGE_PINS", raising=False)
    built, said = [], []
    monkeypatch.setattr("shutil.which", lambda name, **_: "/go" if name == "go" else None)
    monkeypatch.setattr(build.ToolSet, "_compile", lambda self, missing, *_: built.extend(tool.name for tool in missing))
    build.KUBE_ROUTER_TOOLS.build(tmp_path / "log", lambda *_: None, said.append)
    assert built == ["kube-router"]
    assert said == ["kube-router: built from source (PRIMAGE_PINS names no file of release files' checksums)"]
    assert mirror[1] == []


def test_every_tool_of_a_cluster_has_a_release():
    sets = (build.KUBERNETES_TOOLS, build.KUBE_ROUTER_TOOLS, build.OAUTH2_PROXY_TOOLS)
    assert set(RELEASES) == {tool.name for tools in sets for tool in tools.tools}, "Contour's is published as an image alone"


@pytest.mark.parametrize("line", ["kubeadm", f"{'0' * 63}  a/b", f"{'0' * 64}  https://a/b", f"{'0' * 64}  ../b", f"{'0' * 64} a"])
def test_a_file_that_is_not_one_of_pins_is_refused_with_its_line(tmp_path, line):
    (tmp_path / "pins").write_text(f"# a comment\n\n{line}\n")
    with pytest.raises(PrimageError, match="pins, line 3"):
        read_pins(tmp_path / "pins")


@pytest.mark.parametrize(("mirror", "pins"), [("mirror.example.org", ""), ("", "/no/such/file")])
def test_settings_that_lead_nowhere_are_refused(monkeypatch, mirror, pins):
    monkeypatch.setenv("PRIMAGE_MIRROR", mirror)
    monkeypatch.setenv("PRIMAGE_PINS", pins)
    with pytest.raises(PrimageError, match=r"PRIMAGE_(MIRROR|PINS)"):
        official.source()
