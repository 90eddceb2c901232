import re
import subprocess
import sys


def test_reference_follows_the_code(repository):
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=repository, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_app_role_and_decision_is_listed(repository):
    readme = (repository / "README.md").read_text()
    for app in (repository / "apps").glob("*/Pulumi.yaml"):
        assert f"apps/{app.parent.name}" in readme
    decisions = (repository / "docs/adr/README.md").read_text()
    index = (repository / "docs/README.md").read_text()
    for page in (repository / "docs/adr").glob("0*.md"):
        assert page.name in decisions
    for folder in ("tutorials", "how-to", "reference", "explanation", "runbooks"):
        for page in (repository / "docs" / folder).glob("*.md"):
            assert f"{folder}/{page.name}" in index, page


def test_every_variable_that_a_command_reads_is_described(repository):
    page = (repository / "docs/reference/environment-variables.md").read_text()
    sources = "".join(path.read_text() for path in (repository / "primage").rglob("*.py"))
    read = set(re.findall(r"(?:environ(?:\.get\(|\[)|getenv\(|envvar=)\"(PRIMAGE_[A-Z_]+)\"", sources))
    assert {"PRIMAGE_HOME", "PRIMAGE_KUBECONFIG"} <= read
    assert read <= set(re.findall(r"`(PRIMAGE_[A-Z_]+)`", page))
