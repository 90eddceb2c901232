"""A cluster's tools from a mirror under their official names, on a machine without Go."""

import functools
import http.server
import threading

import pytest
from mirror import fill

from primage.local.toolchain.build import KUBE_ROUTER_TOOLS, KUBERNETES_TOOLS
from primage.process import capture


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """What this machine has built, served as a hospital would serve it; the cache is empty and Go is not there."""
    built = {tools: tools.build(tmp_path / "log", lambda *_: None) for tools in (KUBERNETES_TOOLS, KUBE_ROUTER_TOOLS)}
    pins = fill(tmp_path)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("PRIMAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PRIMAGE_MIRROR", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("PRIMAGE_PINS", str(pins))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    yield built
    server.shutdown()
    server.server_close()


def test_all_of_a_clusters_tools_come_from_a_mirror(mirror, tmp_path):
    for tools, before in mirror.items():
        said = []
        folder = tools.build(tmp_path / "log", lambda *_: None, said.append)
        assert folder.is_relative_to(tmp_path)
        assert [line.partition(": ")[0] for line in said] == [", ".join(tool.name for tool in tools.tools)]
        for tool in tools.tools:
            assert (folder / tool.name).read_bytes() == (before / tool.name).read_bytes()
    assert capture([str(KUBERNETES_TOOLS.directory / "kubeadm"), "version", "-o", "short"]).strip() == KUBERNETES_TOOLS.version
