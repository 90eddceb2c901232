"""Binaries written in Go, built from the sources that go.mod and go.sum pin, into a cache keyed by both.

Official releases are taken in their place where they are pinned and served (official.py). What is built can be traced to a
checksum. Each set has a go.mod of its own, since their Kubernetes libraries differ; one `go build` makes a whole set, which
shares most of its packages. kubeadm and kubelet found on PATH in the right version are used too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from primage.errors import ExitCode, PrimageError
from primage.local.toolchain import official
from primage.local.toolchain.versions import CONTOUR, FERRETDB, KUBE_ROUTER, KUBERNETES, OAUTH2_PROXY, PULUMI, PULUMI_KUBERNETES
from primage.local.turn import turn
from primage.paths import cache_dir
from primage.process import capture, run_logged

HERE = Path(__file__).parent
BUILD_TIMEOUT_S = 45 * 60


@dataclass(frozen=True)
class Tool:
    """One binary: its file name, its Go package, and how to ask it for its version."""

    name: str
    package: str
    version_command: tuple[str, ...] = ()

    @property
    def built_as(self) -> str:
        """The file name `go build -o DIR/` gives: the last part of the package path that is not a version."""
        parts = self.package.split("/")
        return parts[-2] if parts[-1][0] == "v" and parts[-1][1:].isdigit() else parts[-1]


@dataclass(frozen=True)
class ModuleFile:
    """A script or a document that a Go module of a set holds, wanted beside its binaries; Go's checksums cover it too."""

    name: str
    module: str
    path: str


@dataclass(frozen=True)
class StatedFile:
    """A file that a module embeds and that is not in it: without it what is built does not start."""

    module: str
    path: str
    text: str


@dataclass(frozen=True)
class ToolSet:
    """The binaries of one go.mod.

    Attributes:
        title: what a person calls them.
        folder: where go.mod and go.sum are.
        version: of what they are built from, with its leading v.
        variables: values linked into them, by variable.
        packages: compiled from an empty Go cache, counted; only the progress bar reads it.
        scripts: taken from its modules as they are.
        stated: files of its modules that their authors' own build writes, with what is in them.
        tags: build tags, for parts that are left out.
    """

    title: str
    folder: Path
    version: str
    tools: tuple[Tool, ...]
    variables: tuple[tuple[str, str], ...]
    packages: int
    scripts: tuple[ModuleFile, ...] = ()
    stated: tuple[StatedFile, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """The cache folder of these sources: changes with any pinned checksum, and with any source beside them."""
        files = (self.folder / "go.mod", self.folder / "go.sum", *sorted(self.folder.glob("*.go")))
        own = repr((self.stated, self.tags)).encode() if self.stated or self.tags else b""
        pinned = b"".join(path.read_bytes() for path in files) + own
        return cache_dir() / "tools" / f"{self.version}-{hashlib.sha256(pinned).hexdigest()[:12]}"

    def missing(self) -> list[Tool]:
        """What is neither in the cache nor, in the right version, on PATH."""
        return [tool for tool in self.tools if not (self.directory / tool.name).is_file() and not self._take_from_path(tool)]

    def describe(self) -> str:
        """One line for a person: what has to be built and why."""
        missing = self.missing()
        if not missing:
            return f"{self.title} {self.version}: in {self.directory}"
        names = ", ".join(tool.name for tool in missing)
        return f"{names} ({self.title} {self.version}): not in the cache, not on PATH"

    def build(
        self, log: Path, on_progress: Callable[[float, str], None], on_choice: Callable[[str], None] = lambda _: None
    ) -> Path:
        """Take what is missing from official releases, or else build it, and return the folder with all of it.

        Args:
            log: file that receives the compiler's output.
            on_progress: called with a fraction (0 to 1) and what is being fetched or compiled.
            on_choice: told in a sentence what was taken from where, and what is built and why.

        Raises:
            PrimageError: a release file is not the pinned one; Go is missing or too old, a source cannot be fetched, or the
                compiler fails.
        """
        if not self.missing() and not self._absent():
            return self.directory
        waiting = partial(on_progress, 0.0, f"another process makes {self.title}'s tools; waiting for it")
        with turn(self.directory, waiting):
            return self._make(log, on_progress, on_choice)

    def _absent(self) -> list[ModuleFile]:
        return [script for script in self.scripts if not (self.directory / script.name).is_file()]

    def _make(self, log: Path, on_progress: Callable[[float, str], None], on_choice: Callable[[str], None]) -> Path:
        missing = self._take_releases(on_progress, on_choice)
        absent = self._absent()
        if (missing or absent) and shutil.which("go") is None:
            raise PrimageError(
                f"Go is not on PATH, and {self.title}'s tools are not built yet",
                todo="install Go 1.26 or later, or see docs/how-to/take-official-releases.md; then run the same command again",
                code=ExitCode.UNSUPPORTED,
            )
        if missing:
            self._compile(missing, log, on_progress)
        for script in absent:
            _install(self._module_folder(script.module) / script.path, self.directory / script.name)
        return self.directory

    def _take_releases(self, on_progress: Callable[[float, str], None], on_choice: Callable[[str], None]) -> list[Tool]:
        """What is still missing when all has been taken that is pinned and served."""
        missing = {tool.name: tool for tool in self.missing()}
        if not missing:
            return []
        source = official.source()
        left = official.take_releases(source, list(missing), self.directory, lambda what: on_progress(0.0, what))
        taken = [name for name in missing if name not in left]
        if taken:
            on_choice(f"{', '.join(taken)}: official releases from {source.server}, with the pinned checksums")
        if left:
            reasons = "; ".join(dict.fromkeys(left.values()))
            on_choice(f"{', '.join(left)}: built from source ({reasons})")
        return [missing[name] for name in left]

    def _compile(self, missing: list[Tool], log: Path, on_progress: Callable[[float, str], None]) -> None:
        staging = self.directory.with_name(f"{self.directory.name}.{os.getpid()}.building")
        staging.mkdir(parents=True, exist_ok=True)
        seen = 0

        def count(line: str) -> None:
            nonlocal seen
            seen += 1
            on_progress(min(0.99, seen / self.packages), line.rsplit(" ", 1)[-1])

        flags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in self.variables)])
        try:
            sources, mode = (self._vendored(staging / "sources", log), "vendor") if self.stated else (self.folder, "readonly")
            run_logged(
                ["go", "build", "-v", "-trimpath", "-buildvcs=false", f"-tags={','.join(self.tags)}", "-ldflags", flags]
                + ["-o", f"{staging}/"]
                + [tool.package for tool in missing],
                cwd=sources,
                env={"CGO_ENABLED": "0", "GOFLAGS": f"-mod={mode}"},
                log=log,
                timeout_s=BUILD_TIMEOUT_S,
                on_line=count,
            )
            for tool in missing:
                _install(staging / tool.built_as, self.directory / tool.name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _vendored(self, folder: Path, log: Path) -> Path:
        """A copy of the modules, checked by go.sum, with the stated files in it: Go's own cache of them cannot be written."""
        folder.mkdir()
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(self.folder / name, folder / name)
        run_logged(["go", "mod", "vendor"], cwd=folder, env={"GOFLAGS": "-mod=mod"}, log=log, timeout_s=BUILD_TIMEOUT_S)
        for file in self.stated:
            (folder / "vendor" / file.module / file.path).write_text(file.text)
        return folder

    def _module_folder(self, module: str) -> Path:
        """Where Go keeps a module's files; fetched when they are not there."""
        flags = {"GOFLAGS": "-mod=readonly"}
        capture(["go", "-C", str(self.folder), "mod", "download", module], timeout_s=BUILD_TIMEOUT_S, env=flags)
        return Path(capture(["go", "-C", str(self.folder), "list", "-m", "-f", "{{.Dir}}", module], env=flags).strip())

    def _take_from_path(self, tool: Tool) -> bool:
        """Copy a binary of exactly the pinned version from PATH into the cache; True when there was one."""
        found = shutil.which(tool.name)
        if not found or not tool.version_command:
            return False
        try:
            said = capture([found, *tool.version_command], timeout_s=20)
        except PrimageError:
            return False
        if self.version not in said.split():
            return False
        _install(Path(found), self.directory / tool.name)
        return True


_KUBERNETES_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR = KUBERNETES.removeprefix("v").split(".")[:2]
KUBERNETES_TOOLS = ToolSet(
    title="Kubernetes",
    folder=HERE,
    version=KUBERNETES,
    tools=(
        Tool("kubeadm", "k8s.io/kubernetes/cmd/kubeadm", ("version", "-o", "short")),
        Tool("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        Tool("kubelet", "k8s.io/kubernetes/cmd/kubelet", ("--version",)),
        Tool("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        Tool("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        Tool("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        Tool("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        Tool("etcd", "go.etcd.io/etcd/server/v3"),
        Tool("coredns", "github.com/coredns/coredns"),
    ),
    variables=(
        (f"{_KUBERNETES_VERSION}.gitVersion", KUBERNETES),
        (f"{_KUBERNETES_VERSION}.gitMajor", _MAJOR),
        (f"{_KUBERNETES_VERSION}.gitMinor", _MINOR),
    ),
    packages=3400,
)
KUBE_ROUTER_TOOLS = ToolSet(
    title="kube-router",
    folder=HERE / "kube_router",
    version=KUBE_ROUTER,
    tools=(Tool("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"),),
    variables=(("github.com/cloudnativelabs/kube-router/v2/pkg/version.Version", KUBE_ROUTER),),
    packages=1200,
)
_CONTOUR = "github.com/projectcontour/contour"
GATEWAY_KINDS, CONTOUR_KINDS = "gateway-api.yaml", "contour.yaml"
CONTOUR_TOOLS = ToolSet(
    title="Contour",
    folder=HERE / "contour",
    version=CONTOUR,
    tools=(Tool("contour", f"{_CONTOUR}/cmd/contour"),),
    variables=((f"{_CONTOUR}/internal/build.Version", CONTOUR),),
    packages=1030,
    scripts=(
        ModuleFile(GATEWAY_KINDS, _CONTOUR, "examples/gateway/00-crds.yaml"),
        ModuleFile(CONTOUR_KINDS, _CONTOUR, "examples/contour/01-crds.yaml"),
    ),
)
"""The gateway's controller, with the kinds of object that it knows: it does not run with newer ones of the Gateway API."""
_OAUTH2_PROXY = "github.com/oauth2-proxy/oauth2-proxy/v7"
OAUTH2_PROXY_TOOLS = ToolSet(
    title="OAuth2 Proxy",
    folder=HERE / "oauth2_proxy",
    version=OAUTH2_PROXY,
    tools=(Tool("oauth2-proxy", _OAUTH2_PROXY),),
    variables=((f"{_OAUTH2_PROXY}/pkg/version.VERSION", OAUTH2_PROXY),),
    packages=300,
)
_FERRETDB = "github.com/FerretDB/FerretDB"
FERRETDB_TOOLS = ToolSet(
    title="FerretDB",
    folder=HERE / "ferretdb",
    version=FERRETDB,
    tools=(Tool("ferretdb", f"{_FERRETDB}/cmd/ferretdb"),),
    variables=(),
    packages=380,
    stated=(StatedFile(_FERRETDB, "build/version/version.txt", f"{FERRETDB}\n"),),
    tags=("ferretdb_no_postgresql",),
)
"""MongoDB's protocol on SQLite."""
_PULUMI_SDK = "github.com/pulumi/pulumi/sdk/v3"
PULUMI_TOOLS = ToolSet(
    title="Pulumi",
    folder=HERE / "pulumi_cli",
    version=PULUMI,
    tools=(Tool("pulumi", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"),),
    variables=((f"{_PULUMI_SDK}/go/common/version.Version", PULUMI),),
    packages=2600,
    scripts=(
        ModuleFile("pulumi-language-python-exec", _PULUMI_SDK, "python/cmd/pulumi-language-python-exec"),
        ModuleFile("pulumi-resource-pulumi-python", _PULUMI_SDK, "python/dist/pulumi-resource-pulumi-python"),
    ),
)
"""Pulumi's own engine, for tests; operators of real sites install it from Pulumi. Its language hosts are not served as modules."""
PULUMI_KUBERNETES_TOOLS = ToolSet(
    title="Pulumi's Kubernetes provider",
    folder=HERE / "pulumi_kubernetes",
    version=PULUMI_KUBERNETES,
    tools=(Tool("pulumi-resource-kubernetes", "primage/toolchain/pulumi-resource-kubernetes"),),
    variables=(("main.version", PULUMI_KUBERNETES.removeprefix("v")),),
    packages=1750,
)


def tools_dir() -> Path:
    """The cache folder of Kubernetes' tools."""
    return KUBERNETES_TOOLS.directory


def _install(source: Path, target: Path) -> None:
    """Copy then rename, so that a file in the cache is always whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.part")
    shutil.copyfile(source, part)
    part.chmod(0o755)
    part.replace(target)
