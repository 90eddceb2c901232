import re
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


@pytest.mark.parametrize("amount", ["0", "0m", "0Gi", ".0"])
@pytest.mark.parametrize(
    ("app", "setting"),
    [
        *[("batch", f"job.{name}") for name in ("cpu", "memory", "scratch")],
        *[("hpc", f"job.{name}") for name in ("cpu", "memory")],
        *[
            ("htc", f"htc.{name}")
            for name in ("consumer.cpu", "consumer.memory", "producer.cpu", "producer.memory", "queue_memory")
        ],
        *[("study-histology", f"study.{name}") for name in ("cpu", "memory", "test_cpu", "test_memory")],
        *[("notebook", f"notebook.{name}") for name in ("cpu", "reserved_cpu", "memory")],
    ],
)
def test_a_container_asks_for_more_than_nothing(repository, app, setting, amount):
    with pytest.raises(PrimageError, match=rf"{setting.replace('.', '[.]')}: must be more than 0"):
        effective_config(load_project(repository / "apps" / app), replace(NAME, app=app), {setting: amount})


def test_a_job_may_go_without_a_gpu(repository):
    assert effective_config(load_project(repository / "apps/batch"), NAME, {"job.gpu": 0})["primage-batch:job"]["gpu"] == 0


def test_what_is_wrong_on_the_command_line_is_not_blamed_on_the_file(repository):
    with pytest.raises(PrimageError, match=r"job\.args: must be a list, such as") as refused:
        effective_config(load_project(repository / "apps/batch"), NAME, dict([parse_override("job.args=ls")]))
    assert refused.value.where == "the command line (--config)"


@pytest.mark.parametrize(
    ("app", "given", "said"),
    [
        ("batch", "jobs.cpu=2", "jobs: unknown setting"),
        ("batch", "htc.consumer.tries=1", "htc: unknown setting"),
        ("htc", "consumer.tries=1", "consumer: unknown setting"),
        ("htc", "htc.consumer.output=words.txt", "output must contain"),
        ("htc", "htc.consumer.call=a:b", "give either command or call"),
        ("htc", "htc.scaling={minimum: 5, maximum: 2}", "htc.scaling.minimum: 5 is more than maximum, which is 2"),
        ("htc", "htc.scaling={minimum: 5, maximum: 7}", "htc.parallelism: 2 is not between"),
        ("batch", "job.env.HOME=a", "HOME is set by the platform"),
        ("batch", "job.image=", "job.image: is empty: it must be text"),
        ("batch", "job.gpu=", "job.gpu: is empty: it must be a whole number"),
        ("batch", "job.args=", "job.args: is empty: it must be a list, such as"),
        ("batch", "job.env.FOO=1", "must be text; put it in quotes (given: 1); write -c 'job.env.FOO=\"1\"'"),
        ("batch", "job.env.FOO=true", "write -c 'job.env.FOO=\"…\"'"),
    ],
)
def test_a_mistake_that_the_file_alone_does_not_have_is_the_command_lines(repository, app, given, said):
    with pytest.raises(PrimageError, match=re.escape(said)) as refused:
        effective_config(load_project(repository / "apps" / app), replace(NAME, app=app), dict([parse_override(given)]))
    assert refused.value.where == "the command line (--config)"


def test_vos_given_on_the_command_line_that_the_rest_of_the_file_does_not_fit(repository):
    given = {"site.vos": [{"name": "vo.example.org", "gid": 20001, "quota": {"cpu": "1", "memory": "1Gi"}}]}
    with pytest.raises(PrimageError, match="hpc") as refused:
        effective_config(load_project(repository), parse_stack_name("local"), given)
    assert refused.value.where == "the command line (--config)"


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        ({}, "Pulumi.vo.primage.eu.local.yaml"),
        ({"job.cpu": 1}, "Pulumi.vo.primage.eu.local.yaml"),
        ({"job.memory": 0}, "Pulumi.vo.primage.eu.local.yaml and --config"),
        ({"job.colour": "blue"}, "the command line (--config)"),
    ],
)
def test_a_mistake_of_the_file_stays_the_files(tmp_path, overrides, where):
    (tmp_path / "Pulumi.yaml").write_text("name: primage-batch\n")
    (tmp_path / "config.py").write_text(
        "from primage.components.jobs.batch_settings import BatchJobSettings\nMODELS = {'job': BatchJobSettings}\n"
    )
    (tmp_path / "Pulumi.vo.primage.eu.local.yaml").write_text("config: {'primage-batch:job': {name: a, image: 'a:1', colour: red}}")
    with pytest.raises(PrimageError, match="colour: unknown key") as refused:
        effective_config(load_project(tmp_path), NAME, overrides)
    assert refused.value.where.endswith(where)


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
