from dataclasses import replace

import pytest

from primage.components.jobs.hpc_settings import HpcJobSettings
from primage.contract.outputs import Settings
from primage.errors import PrimageError
from primage.projects.overrides import effective_config, parse_override
from primage.projects.project import load_project, parse_stack_name

NAME = parse_stack_name("batch/vo.primage.eu.local")


def test_an_override_reaches_into_the_file(repository):
    project = load_project(repository / "apps/batch")
    config = effective_config(project, NAME, {"job.cpu": "2", "job.env.A": "b"})
    assert config["primage-batch:job"]["cpu"] == "2"
    assert config["primage-batch:job"]["env"] == {"A": "b"}
    assert config["primage-batch:job"]["name"] == "hello"


def test_an_override_below_a_plain_value_is_refused(repository):
    with pytest.raises(PrimageError, match="no settings below it"):
        effective_config(load_project(repository / "apps/batch"), NAME, {"job.name.x.y": 1})


@pytest.mark.parametrize(
    ("text", "value"), [("a.b=2", ("a.b", 2)), ("a=[x, y]", ("a", ["x", "y"])), ("a=", ("a", None)), ("a=b=c", ("a", "b=c"))]
)
def test_overrides_are_yaml(text, value):
    assert parse_override(text) == value


@pytest.mark.parametrize("text", ["a", "=b", "a=[x"])
def test_what_is_no_override(text):
    with pytest.raises(PrimageError):
        parse_override(text)


def test_an_encrypted_value_needs_the_pulumi_cli(tmp_path):
    (tmp_path / "Pulumi.yaml").write_text("name: p\n")
    (tmp_path / "Pulumi.s.yaml").write_text("config:\n  p:token:\n    secure: AAAB\n")
    with pytest.raises(PrimageError, match="encrypted"):
        effective_config(load_project(tmp_path), parse_stack_name("s"), {})


def test_a_number_on_the_command_line_is_a_quantity(repository):
    config = effective_config(load_project(repository / "apps/batch"), NAME, dict([parse_override("job.cpu=2")]))
    assert config["primage-batch:job"]["cpu"] == 2


def test_what_is_wrong_on_the_command_line_is_not_blamed_on_the_file(repository):
    with pytest.raises(PrimageError, match=r"job\.args: must be a list, such as") as refused:
        effective_config(load_project(repository / "apps/batch"), NAME, dict([parse_override("job.args=ls")]))
    assert refused.value.where == "the command line (--config)"


@pytest.mark.parametrize(("app", "given"), [("hpc", "job.host=mars"), ("batch", "job.priority=urgent")])
def test_what_the_site_does_not_have_is_refused_before_anything_is_sent(repository, app, given):
    with pytest.raises(PrimageError, match=rf"{given.partition('=')[0].replace('.', '[.]')}: \w+ is not a") as refused:
        effective_config(load_project(repository / "apps" / app), replace(NAME, app=app), dict([parse_override(given)]))
    assert refused.value.where == "the command line (--config)"


@pytest.mark.parametrize("text", ["<your VO>", "<name>", "a-<name>-b", "CHANGE-ME", "# TODO"])
def test_a_placeholder_is_not_left_unedited(text):
    with pytest.raises(ValueError, match="placeholder"):
        HpcJobSettings.model_validate({"name": "a", "host": text, "script": "true"})


@pytest.mark.parametrize(
    "text", ["wc -l < a.csv > b.csv", "sort <a >b", "cat <name> x  # TODO", "if [ 1 ]; then cat <<EOF\nx\nEOF\nfi"]
)
def test_a_program_is_not_taken_for_a_placeholder(text):
    assert HpcJobSettings.model_validate({"name": "a", "host": "hpc", "script": text}).script == text


def test_redirection_is_no_placeholder_anywhere():
    command = ["sh", "-c", "sort < a.csv > b.csv; wc -l <b.csv >c"]
    assert Redirecting.model_validate({"text": command[2]}).text == command[2]


class Redirecting(Settings):
    text: str
