import json
import os
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from primage.cli import root
from primage.cli.root import app
from primage.errors import ExitCode, PrimageError


def primage(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "primage", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def commands(group, *path):
    """Every command that people see, as its own words: a new one is tested by being there."""
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        yield from commands(command, *path, name) if hasattr(command, "commands") else [(*path, name)]


ROOT = typer.main.get_command(app)
COMMANDS = list(commands(ROOT))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_of_every_command_shows_an_example_of_it(path):
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*path, "--help"])
    assert done.exit_code == 0
    assert re.search(rf"Example: .*primage {' '.join(path)}\b", done.output)


def test_help_lists_every_command_without_importing_pulumi():
    code = """
import sys
sys.argv = ["primage", "--help"]
from primage.__main__ import main
try:
    main()
except SystemExit:
    print("LOADED", [name for name in ("pulumi", "kubernetes", "pydantic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    listed = set(re.findall(r"^\W+([a-z]+) ", done.stdout, re.MULTILINE))
    assert {path[0] for path in COMMANDS} <= listed
    assert "LOADED []" in done.stdout


def test_the_reference_has_every_command(repository):
    reference = (repository / "docs/reference/commands.md").read_text()
    for path in COMMANDS:
        assert f"primage {' '.join(path)}" in reference


def test_an_error_is_one_paragraph_and_a_code():
    done = primage("preview", "Not A Stack")
    assert done.returncode == ExitCode.INVALID
    assert done.stderr.startswith("Error: 'Not A Stack' is not a stack name")
    assert "Next:" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_as_json():
    done = primage("preview", "nowhere", "--json")
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == done.returncode == ExitCode.INVALID
    assert error["where"].endswith("Pulumi.nowhere.yaml")


@pytest.mark.parametrize("ended", [KeyboardInterrupt(), SystemExit(root.INTERRUPTED)], ids=["python", "typer"])
def test_what_is_interrupted_says_how_to_go_on(ended, monkeypatch, capsys):
    def interrupted(**_):
        raise ended

    monkeypatch.setattr(root, "app", interrupted)
    with pytest.raises(SystemExit) as caught:
        root.main()
    assert caught.value.code == root.INTERRUPTED
    assert "Error: interrupted. Next: run the same command again" in " ".join(capsys.readouterr().err.split())


def test_outputs_of_what_is_not_here_say_so(tmp_path):
    done = primage("outputs", "local", "--engine", "embedded", PRIMAGE_HOME=str(tmp_path))
    assert done.stdout == ""
    assert "local has no outputs on this machine" in done.stderr


def test_debug_shows_the_traceback():
    assert "Traceback" in primage("preview", "Not A Stack", "--debug").stderr


def test_outside_a_repository(tmp_path):
    done = primage("validate", PRIMAGE_REPOSITORY=str(tmp_path))
    assert done.returncode == ExitCode.UNSUPPORTED
    assert "not inside a primage repository" in done.stderr


def test_a_kubeconfig_that_is_not_there(tmp_path):
    done = primage("preview", "local", PRIMAGE_KUBECONFIG=str(tmp_path / "none"))
    assert done.returncode == ExitCode.UNREACHABLE
    assert "kubeconfig" in done.stderr


def test_the_pulumi_engine_says_when_it_is_not_there(tmp_path):
    done = primage("preview", "local", "--engine", "pulumi", PATH=str(tmp_path))
    assert done.returncode == ExitCode.UNSUPPORTED
    assert "Pulumi CLI is not on PATH" in done.stderr


def test_validate_as_json():
    document = json.loads(primage("validate", "--json").stdout)
    assert document["problems"] == []
    assert "batch/vo.primage.eu.local" in document["checked"]


def test_without_root_the_local_site_says_what_works(monkeypatch):
    from primage.local.site import require_host

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PrimageError, match="needs root") as caught:
        require_host()
    assert "make test-unit" in caught.value.todo


def test_off_linux_the_local_site_says_what_works(monkeypatch):
    import platform

    from primage.local.site import require_host

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(PrimageError, match="needs Linux"):
        require_host()
