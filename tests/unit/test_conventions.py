"""The tree says the same thing everywhere: documents, pins, tests."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from primage.local.toolchain import build, versions

PATH = re.compile(r"`((?:[A-Za-z0-9_.<>*-]+/)+[A-Za-z0-9_.*-]*|[A-Z][A-Za-z]*\.(?:md|toml|yaml)|Makefile)`")
OUTSIDE = (
    "private/",
    "shared/",
    "datalake/",
    "/",
    "~",
    "http",
    "bench/results.json",
    "study-results",
    "batch/",
    "study-histology/vo",
    "job/",
    "pod/",
    "pulumi.com/",
    "<app>/",
    "HOME/",
    "jobs/",
    "organization/",
    "primage.eu/",
)


def tracked(repository, *patterns):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    return [repository / line for line in listed.stdout.splitlines() if (repository / line).exists()]


def test_every_path_named_in_documents_exists(repository):
    missing = []
    for document in tracked(repository, "*.md"):
        for name in PATH.findall(document.read_text()):
            if name.startswith(OUTSIDE) or "<" in name:
                continue
            places = [repository, document.parent]
            if not any(list(place.glob(name.rstrip("/"))) for place in places):
                missing.append(f"{document.relative_to(repository)}: {name}")
    assert missing == []


def test_every_link_in_documents_leads_somewhere(repository):
    broken = []
    for document in tracked(repository, "*.md"):
        targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
        broken += [f"{document.name}: {target}" for target in targets if not (document.parent / target).exists()]
    assert broken == []


def test_every_make_target_named_in_documents_exists(repository):
    targets = set(re.findall(r"^([a-z-]+):.*## ", (repository / "Makefile").read_text(), re.MULTILINE))
    for document in tracked(repository, "*.md"):
        named = set(re.findall(r"`make ([a-z-]+)", document.read_text()))
        assert named <= targets, document


def test_every_test_file_is_collected_and_has_tests(repository):
    for path in tracked(repository, "tests/**/*.py"):
        if path.parent.name == "helpers" or path.name in {"conftest.py", "__init__.py"} or path.name.startswith("_"):
            continue
        assert path.name.startswith("test_"), f"{path} would not be collected"
        functions = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        assert any(name.startswith("test_") for name in functions), f"{path} tests nothing"


def test_make_runs_every_tier(repository):
    makefile = (repository / "Makefile").read_text()
    for tier in ("unit", "templates", "policy", "integration"):
        assert f"tests/{tier}" in makefile
    for path in tracked(repository, "tests/e2e/*.py"):
        if path.name.startswith("test_"):
            assert f"tests/e2e/{path.name}" in makefile, f"make test does not run {path.name}"


def test_versions_are_the_pinned_ones(repository):
    pins = (repository / "primage/local/toolchain/go.mod").read_text()
    assert f"k8s.io/kubernetes {versions.KUBERNETES} " in pins
    assert f"go.etcd.io/etcd/server/v3 {versions.ETCD} " in pins
    assert f"github.com/coredns/coredns {versions.COREDNS} " in pins
    assert set(re.findall(r"^\t(\S+)$", pins.split("tool (")[1].split(")")[0], re.MULTILINE)) == {
        tool.package for tool in build.KUBERNETES_TOOLS.tools
    }
    router = (repository / "primage/local/toolchain/kube_router/go.mod").read_text()
    assert f"github.com/cloudnativelabs/kube-router/v2 {versions.KUBE_ROUTER} " in router
    assert re.findall(r"^tool (\S+)$", router, re.MULTILINE) == [tool.package for tool in build.KUBE_ROUTER_TOOLS.tools]
    for tools, pinned in (
        (build.CONTOUR_TOOLS, f"github.com/projectcontour/contour {versions.CONTOUR} "),
        (build.OAUTH2_PROXY_TOOLS, f"github.com/oauth2-proxy/oauth2-proxy/v7 {versions.OAUTH2_PROXY} "),
    ):
        text = (tools.folder / "go.mod").read_text()
        assert pinned in text
        assert re.findall(r"^tool (\S+)$", text, re.MULTILINE) == [tool.package for tool in tools.tools]
    assert f"github.com/pulumi/pulumi/sdk/v3 {versions.PULUMI}" in (build.PULUMI_TOOLS.folder / "go.mod").read_text()
    requirements = (repository / "requirements.txt").read_text()
    assert f"\npulumi-kubernetes=={versions.PULUMI_KUBERNETES.removeprefix('v')} " in requirements
    assert versions.KUBERNETES in (repository / "playbooks/inventories/local.yml").read_text()
    assert versions.PAUSE in (repository / "roles/container_runtime/defaults/main.yml").read_text()


ROOT = Path(__file__).resolve().parents[2]
LOCKS = [str(path.relative_to(ROOT)) for path in tracked(ROOT, "*requirements*.txt")]


def test_every_lock_of_what_is_installed_is_known():
    """Whatever a Makefile, a role or an image installs from is among those that are looked at below."""
    named = set()
    for path in tracked(ROOT, "*Makefile", "*Containerfile", "primage/*.py", "roles/*.yml", "playbooks/*.yml", "*.sh", ".ci/*"):
        named |= set(re.findall(r"[\w./-]*requirements[\w-]*\.txt", path.read_text()))
    assert {"requirements.txt", "requirements-dev.txt"} <= named
    assert all(any(lock.endswith(name.lstrip("./")) for lock in LOCKS) for name in named)


@pytest.mark.parametrize("name", LOCKS)
def test_requirements_are_locked_by_hash_and_name_no_index(repository, name):
    text = (repository / name).read_text()
    assert "--hash=sha256:" in text
    assert not re.search(r"https?://|--index|--find-links|file:/", text)
    pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line for line in pins)


def test_the_formatter_formats_everything(repository):
    kept = "fmt: " + "skip"
    assert [path for path in tracked(repository, "*.py") if kept in path.read_text()] == []


FOREIGN = re.compile(r"\banew\b|\bin vain\b|\bmend(?:s|ed)?\b|(?<!here )\b(?:is|are) no (?!longer\b|more than\b)[a-z]+")
"""Words of another language's grammar that once filled the documents: say again, fix, "is not a"."""


def test_what_people_read_is_plain_english(repository):
    found = []
    for path in tracked(repository, "README.md", "CONTRIBUTING.md", "docs/*.md", "primage/cli/*.py", "primage/projects/*.py"):
        found += [f"{path.relative_to(repository)}: {words}" for words in FOREIGN.findall(path.read_text())]
    assert found == []
