"""How-tos as far as they need no site: what they show is valid, and their offline commands do what they say."""

import re
import shlex
import textwrap

import click
import pytest
import typer
import yaml
from documents import Command, File, Reader, blocks, copy_checkout, every_command, pattern, printed, steps
from typer.testing import CliRunner

from primage.cli.root import app
from primage.contract.hpc_centres import HpcBackendConfig

ROOT = typer.main.get_command(app)
OFFLINE = ("cp apps/", "primage validate", "primage site new", "ansible-playbook", "ssh-keygen")
OFFLINE_PAGES = ("connect-an-hpc-centre", "describe-a-site", "run-a-batch-job", "run-an-hpc-job", "write-an-htc-application")
SITE_PAGES = (
    "limit-home",
    "open-a-desktop",
    "open-a-notebook",
    "read-the-audit-log",
    "run-a-batch-job",
    "run-an-hpc-job",
    "write-an-htc-application",
)


def pages(repository):
    """Every page that a person follows."""
    documents = repository / "docs"
    return [
        repository / "README.md",
        *(page for kind in ("how-to", "tutorials", "runbooks") for page in (documents / kind).glob("*.md")),
    ]


def parsed(words):
    """The command that the words name, with its arguments read as the command line reads them."""
    group = ROOT
    while isinstance(group, click.Group) and words and words[0] in group.commands:
        group, words = group.commands[words[0]], words[1:]
    assert not isinstance(group, click.Group), f"{words[:1]} is not a command"
    with group.make_context(group.name, [word for word in words if word != "--debug"]) as context:
        return context.params


def test_every_command_that_a_page_shows_exists_and_takes_these_options(repository):
    shown = [(page, command) for page in pages(repository) for command in every_command(page.read_text())]
    assert len(shown) > 40
    for page, command in shown:
        words = shlex.split(command)[1:]
        try:
            parsed(words)
        except click.UsageError as error:
            pytest.fail(f"{page.name}: {command}: {error.format_message()}")


def test_every_command_named_in_a_sentence_exists(repository):
    for page in pages(repository):
        for text in re.findall(r"`primage ([a-z]+(?: [a-z]+)?)", page.read_text()):
            first, _, second = text.partition(" ")
            assert first in ROOT.commands, f"{page.name}: primage {text}"
            if isinstance(ROOT.commands[first], click.Group) and second:
                assert second in ROOT.commands[first].commands, f"{page.name}: primage {text}"


@pytest.mark.parametrize("name", OFFLINE_PAGES)
def test_offline_commands_do_what_the_page_shows(name, repository, tmp_path):
    text = (repository / f"docs/how-to/{name}.md").read_text()
    reader = Reader(copy_checkout(repository, tmp_path))
    assert reader.follow(text, lambda command: command.text.startswith(OFFLINE))


@pytest.mark.parametrize("name", SITE_PAGES)
def test_what_a_page_brings_up_can_be_rendered(name, repository, tmp_path, monkeypatch):
    """Its settings are valid, those on the command line too, as far as that can be known without a site."""
    checkout = copy_checkout(repository, tmp_path / "checkout")
    monkeypatch.setenv("PRIMAGE_REPOSITORY", str(checkout))
    reader, rendered = Reader(checkout), set()
    for step in steps((repository / f"docs/how-to/{name}.md").read_text()):
        if isinstance(step, File):
            reader.write(step)
        elif step.text.startswith("primage up "):
            # A run without settings of its own is rendered as its stack is.
            stack, *options = shlex.split(step.text.removeprefix("primage up "))
            words = ["render", "--out", str(tmp_path / "out"), stack.partition("--")[0], *options]
            if tuple(words) not in rendered:
                done = CliRunner().invoke(app, words)
                assert done.exit_code == 0, f"{step.text}\n{done.exception or done.output}"
            rendered.add(tuple(words))
    assert rendered


def test_the_entries_shown_for_hpc_centres_are_valid(repository):
    text = (repository / "docs/how-to/connect-an-hpc-centre.md").read_text()
    entries = [yaml.safe_load(body)[0] for language, body in blocks(text) if language == "yaml" and body.startswith("- name:")]
    assert [HpcBackendConfig.model_validate(entry).name for entry in entries] == ["elsewhere"]


def test_every_figure_that_the_page_names_is_measured(repository):
    text = (repository / "docs/how-to/measure.md").read_text()
    measured = "".join(path.read_text() for path in (repository / "bench").glob("*.py"))
    figures = set(re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", text)) - {"site_cold_s"}
    assert len(figures) > 5
    assert [figure for figure in sorted(figures) if figure not in measured] == []
    for program in re.findall(r"python ([\w/]+\.py)", text):
        assert (repository / program).is_file()


def test_every_runbook_is_a_table_of_symptom_check_and_fix(repository):
    for page in (repository / "docs/runbooks").glob("*.md"):
        assert "| Symptom | Check | Fix |" in page.read_text(), page.name


@pytest.mark.parametrize("name", ["README.md", "docs/how-to/run-a-batch-job.md", "docs/tutorials/first-site.md"])
def test_a_virtual_organisation_is_spelled_out_before_its_letters(name, repository):
    text = (repository / name).read_text()
    first = re.search(r"\bVOs?\b", text)
    assert first
    assert re.search(r"virtual\s+organisation", text[: first.start()])


# The runner itself.

PAGE = textwrap.dedent("""\
    1. Write it:

       ```yaml
       # made/by.yaml
       key: value
       ```

       ```console
       $ cat made/by.yaml
       # made/by.yaml
       key: value
       $ echo 'done (3.1 s)' && \\
       echo at http://127.0.0.1:4711
       done (0.2 s)
       at http://<place>
       ```
    """)


def test_a_page_is_files_and_commands_in_its_order():
    file, first, second = steps(PAGE)
    assert file == File("made/by.yaml", "# made/by.yaml\nkey: value\n")
    assert first == Command("cat made/by.yaml", ("# made/by.yaml", "key: value"))
    assert second.text.startswith("echo 'done (3.1 s)' && echo at")


def test_a_page_that_is_right_is_followed_to_its_end(tmp_path):
    assert len(Reader(tmp_path).follow(PAGE)) == 2


@pytest.mark.parametrize(
    "block",
    [
        "$ echo one\ntwo",
        "$ echo one\none\nand more",
        "$ printf 'one\\ntwo\\n'\none",
        "$ exit 3",
        "$ false | true",
        "$ true\nError: …",
        "$ echo 'Error: one' >&2; exit 1\nError: two",
        "$ echo here\nelsewhere\n^C",
    ],
)
def test_a_page_that_is_wrong_is_found_out(block, tmp_path):
    with pytest.raises(AssertionError):
        Reader(tmp_path).follow(f"```console\n{block}\n```\n")


@pytest.mark.parametrize(
    "block",
    [
        "$ echo 'Error: it broke' >&2; exit 1\nError: it …",
        "$ echo one; echo two; echo three\none\n…\nthree",
        "$ echo whatever",
        "$ python3 -c 'import time; print(\"ready\"); time.sleep(60)'\nready\n^C",
    ],
)
def test_what_a_page_leaves_open_may_be_anything(block, tmp_path):
    Reader(tmp_path).follow(f"```console\n{block}\n```\n")


def test_numbers_that_differ_from_run_to_run_are_not_compared():
    shown = pattern(("3 of 3 done; 1.5/s (0.2 s), Slurm job 1",))
    assert shown.fullmatch(printed("3 of 3 done; 12/s (3.44 s), Slurm job 77\n"))
    assert not shown.fullmatch(printed("2 of 3 done; 12/s (3.44 s), Slurm job 77\n"))
