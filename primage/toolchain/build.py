"""Kubernetes' own binaries, built from the sources go.mod and go.sum pin, into a cache keyed by version.

A registry of prebuilt binaries is not needed, and what is built can be traced to a checksum. One `go build`
makes them all, since they share most of their packages. kubeadm, kubelet and kubectl found on PATH in the
right version are used instead of being built.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from primage.errors import ExitCode, PrimageError
from primage.paths import cache_dir
from primage.process import capture, run_logged
from primage.toolchain.versions import ETCD, KUBERNETES

HERE = Path(__file__).parent
BUILD_TIMEOUT_S = 45 * 60
PACKAGES_IN_ALL = 3400
"""Packages compiled by a build from an empty Go cache, counted; only the progress bar reads it."""


@dataclass(frozen=True)
class Tool:
    """One binary: its file name, its Go package, and how to ask it for its version."""

    name: str
    package: str
    version_command: tuple[str, ...] = ()


TOOLS = (
    Tool("kubeadm", "k8s.io/kubernetes/cmd/kubeadm", ("version", "-o", "short")),
    Tool("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    Tool("kubelet", "k8s.io/kubernetes/cmd/kubelet", ("--version",)),
    Tool("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Tool("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    Tool("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    Tool("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    Tool("etcd", "go.etcd.io/etcd/server/v3"),
    Tool("coredns", "github.com/coredns/coredns"),
)


def tools_dir() -> Path:
    """The cache folder of this set of sources: changes with any pinned checksum."""
    digest = hashlib.sha256((HERE / "go.mod").read_bytes() + (HERE / "go.sum").read_bytes()).hexdigest()[:12]
    return cache_dir() / "tools" / f"{KUBERNETES}-{digest}"


def missing_tools() -> list[Tool]:
    """What is neither in the cache nor, in the right version, on PATH."""
    return [tool for tool in TOOLS if not (tools_dir() / tool.name).is_file() and not _take_from_path(tool)]


def _take_from_path(tool: Tool) -> bool:
    """Copy a binary of exactly the pinned version from PATH into the cache; True when there was one."""
    found = shutil.which(tool.name)
    if not found or not tool.version_command:
        return False
    try:
        said = capture([found, *tool.version_command], timeout_s=20)
    except PrimageError:
        return False
    if KUBERNETES not in said.split():
        return False
    _install(Path(found), tools_dir() / tool.name)
    return True


def _install(source: Path, target: Path) -> None:
    """Copy then rename, so that a file in the cache is always whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.part")
    shutil.copyfile(source, part)
    part.chmod(0o755)
    part.replace(target)


def build_tools(log: Path, on_progress: Callable[[float, str], None]) -> Path:
    """Build what is missing and return the folder with all of it.

    Args:
        log: file that receives the compiler's output.
        on_progress: called with a fraction (0 to 1) and what is being compiled.

    Raises:
        PrimageError: Go is missing or too old, a source cannot be fetched, or the compiler fails.
    """
    missing = missing_tools()
    folder = tools_dir()
    if not missing:
        return folder
    if shutil.which("go") is None:
        raise PrimageError(
            "Go is not on PATH, and Kubernetes' tools are not built yet",
            todo="install Go 1.26 or later, then run the same command again",
            code=ExitCode.UNSUPPORTED,
        )
    staging = folder.with_name(folder.name + f".{os.getpid()}.building")
    staging.mkdir(parents=True, exist_ok=True)
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        seen += 1
        on_progress(min(0.99, seen / PACKAGES_IN_ALL), line.rsplit(" ", 1)[-1])

    major, minor = KUBERNETES.removeprefix("v").split(".")[:2]
    version = "k8s.io/component-base/version"
    flags = f"-s -w -X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    try:
        run_logged(
            ["go", "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", f"{staging}/"]
            + [tool.package for tool in missing],
            cwd=HERE,
            env={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
            log=log,
            timeout_s=BUILD_TIMEOUT_S,
            on_line=count,
        )
        for tool in missing:
            _install(staging / _output_name(tool), folder / tool.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _output_name(tool: Tool) -> str:
    """The file name `go build -o DIR/` gives: the last part of the package path that is no version."""
    parts = tool.package.split("/")
    return parts[-2] if parts[-1][0] == "v" and parts[-1][1:].isdigit() else parts[-1]


def describe() -> str:
    """One line for a person: what has to be built and why."""
    missing = missing_tools()
    if not missing:
        return f"Kubernetes {KUBERNETES} tools are in {tools_dir()}"
    names = ", ".join(tool.name for tool in missing)
    return f"building {names} (Kubernetes {KUBERNETES}, etcd {ETCD}) from source: not in the cache, not on PATH"
