import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from primage.local.images.catalogue import Image, kubernetes_images
from primage.local.toolchain import build
from primage.process import capture


def test_output_names_are_those_go_gives():
    names = {tool.name: tool.built_as for tool in build.KUBERNETES_TOOLS.tools}
    assert names["etcd"] == "server"
    assert names["kubeadm"] == "kubeadm"


def test_the_cache_is_keyed_by_what_is_pinned_and_by_the_sources_beside_it(tmp_path):
    tools = replace(build.KUBERNETES_TOOLS, folder=tmp_path)
    (tmp_path / "go.mod").write_text("a")
    (tmp_path / "go.sum").write_text("b")
    keys = {tools.directory}
    (tmp_path / "go.sum").write_text("c")
    keys.add(tools.directory)
    (tmp_path / "main.go").write_text("d")
    keys.add(tools.directory)
    assert len(keys) == 3


def test_a_script_of_a_module_is_taken_beside_the_binaries(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "module/bin").mkdir(parents=True)
    (tmp_path / "module/bin/script").write_text("#!/bin/sh\n")
    monkeypatch.setattr(build.ToolSet, "_module_folder", lambda *_: tmp_path / "module")
    tools = replace(build.PULUMI_TOOLS, tools=(), scripts=(build.ModuleFile("script", "m", "bin/script"),))
    folder = tools.build(tmp_path / "log", lambda *_: None)
    assert os.access(folder / "script", os.X_OK)


MAIN = """package main

import (
	"embed"
	"fmt"
)

//go:embed *.txt
var known embed.FS

func main() {
	version, _ := known.ReadFile("version.txt")
	fmt.Print(string(version))
}
"""


def test_what_its_authors_build_writes_into_a_module_is_in_what_is_built(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PRIMAGE_PINS", raising=False)
    module, own = tmp_path / "module", tmp_path / "own"
    (module / "cmd" / "speaks").mkdir(parents=True)
    (module / "go.mod").write_text("module example.org/m\n\ngo 1.24\n")
    (module / "cmd" / "speaks" / "main.go").write_text(MAIN)
    (module / "cmd" / "speaks" / "others.txt").touch()
    own.mkdir()
    required = f"require example.org/m v0.0.0\n\nreplace example.org/m => {module}\n"
    (own / "go.mod").write_text(f"module example.org/own\n\ngo 1.24\n\ntool example.org/m/cmd/speaks\n\n{required}")
    (own / "go.sum").touch()
    tools = build.ToolSet(
        title="Speaks",
        folder=own,
        version="v1",
        tools=(build.Tool("speaks", "example.org/m/cmd/speaks"),),
        variables=(),
        packages=1,
        stated=(build.StatedFile("example.org/m", "cmd/speaks/version.txt", "v1.2.3"),),
    )
    built = tools.build(tmp_path / "log", lambda *_: None)
    assert capture([str(built / "speaks")]) == "v1.2.3"
    assert not (module / "cmd" / "speaks" / "version.txt").exists()
    assert replace(tools, stated=()).directory != tools.directory


def test_a_set_is_made_once_whoever_else_wants_it_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_CACHE", str(tmp_path / "cache"))
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    tools = replace(build.PULUMI_TOOLS, tools=(), scripts=(build.ModuleFile("script", "m", "script"),))
    waits, installed = threading.Event(), []

    def install(source, target):
        assert waits.wait(30), "the second one does not wait for the first"
        installed.append(target)
        shutil.copy(source, target)

    monkeypatch.setattr(build.ToolSet, "_module_folder", lambda *_: tmp_path)
    monkeypatch.setattr(build, "_install", install)
    tools.directory.mkdir(parents=True)

    def follow(_fraction, what):
        assert "another process makes Pulumi" in what
        waits.set()

    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(tools.build, tmp_path / "log", follow) for _ in range(2)]
        assert [each.result(60) for each in made] == [tools.directory] * 2
    assert installed == [tools.directory / "script"]


def test_a_tool_on_path_in_another_version_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for version, taken in (("v1.0.0", False), (build.KUBERNETES, True)):
        program = tmp_path / "kubeadm"
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
        assert ("kubeadm" not in {tool.name for tool in build.KUBERNETES_TOOLS.missing()}) is taken


def test_an_images_key_follows_its_content(repository, tmp_path):
    (tmp_path / "f").write_text("one")
    image = Image(name="x", folder="images/pause", files={"f": tmp_path / "f"})
    before = image.content_key(repository, "base")
    assert image.content_key(repository, "other base") != before
    (tmp_path / "f").write_text("two")
    assert image.content_key(repository, "base") != before


def test_every_image_has_a_containerfile(repository, tmp_path):
    for image in kubernetes_images(tmp_path):
        assert (repository / image.folder / "Containerfile").is_file()
