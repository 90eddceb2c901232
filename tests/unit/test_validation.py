"""Files called `<case>.error.<what>.yaml` are refused with the words in their first line's comment; `*.happy.*` pass.

A first line reads `# field | words`, one for each problem that must be told, all in one pass.
"""

import shutil
from pathlib import Path

import pytest

from primage.projects.project import all_projects, load_project, parse_stack_name
from primage.projects.validation import load_models, reference_problems, setting_problems, validate_repository

SITES = sorted((Path(__file__).parent / "sites").glob("*.yaml"))


@pytest.fixture
def lone_repository(repository, tmp_path):
    """A repository of the real programs and no stack files."""
    for name in ("infra", "apps"):
        shutil.copytree(
            repository / name, tmp_path / name, ignore=shutil.ignore_patterns("Pulumi.*.*.yaml", "package", "__pycache__")
        )
    shutil.copy(repository / "Pulumi.yaml", tmp_path)
    for stray in tmp_path.glob("apps/*/Pulumi.*.yaml"):
        stray.unlink()
    return tmp_path


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_corpus(path, lone_repository):
    text = path.read_text()
    target = lone_repository / "Pulumi.tested.yaml"
    target.write_text(text)
    _, problems = validate_repository(lone_repository)
    told = [str(problem) for problem in problems]
    if ".happy." in path.name:
        assert told == []
        return
    expected = [line[2:].split(" | ") for line in text.splitlines() if line.startswith("# ") and " | " in line]
    assert expected, "the file says nothing of what is wrong with it"
    for field, words in expected:
        assert any(p.field == field and words in p.message and p.file == "Pulumi.tested.yaml" for p in problems), told
    assert len(problems) == len(expected), told


def test_the_repositorys_own_files_pass(repository):
    checked, problems = validate_repository(repository)
    assert "local" in checked
    assert problems == []


def test_an_unknown_site(repository):
    _, problems = validate_repository(repository, ["nowhere"])
    assert "no such site" in str(problems[0])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Pulumi.vo.primage.eu.mars.yaml", "is for site mars"),
        ("Pulumi.vo.other.org.local.yaml", "does not list under vos"),
        ("Pulumi.local.yaml", "is not a stack name"),
    ],
)
def test_an_apps_file_refers_to_a_site_and_a_vo(lone_repository, repository, name, words):
    shutil.copy(repository / "Pulumi.local.yaml", lone_repository)
    shutil.copy(repository / "apps/batch/Pulumi.vo.primage.eu.local.yaml", lone_repository / "apps/batch" / name)
    _, problems = validate_repository(lone_repository)
    assert any(words in str(problem) for problem in problems), problems


def test_an_apps_priority_is_one_of_its_site(lone_repository, repository):
    shutil.copy(repository / "Pulumi.local.yaml", lone_repository)
    text = (repository / "apps/batch/Pulumi.vo.primage.eu.local.yaml").read_text()
    (lone_repository / "apps/batch/Pulumi.vo.primage.eu.local.yaml").write_text(text + "    priority: urgent\n")
    (problem,) = validate_repository(lone_repository)[1]
    assert problem.field == "primage-batch:job.priority"


@pytest.mark.parametrize(
    "text",
    [
        "config: {primage-batch:job: {name: a, image: 'primage/base:1', priority: [urgent]}}",
        "config: {primage-batch:job: {name: a, image: 'primage/base:1', priority: {a: b}}}",
        "config: {primage-batch:job: [a]}",
    ],
)
def test_a_reference_of_another_type_is_a_problem_and_no_defect(lone_repository, repository, text):
    shutil.copy(repository / "Pulumi.local.yaml", lone_repository)
    (lone_repository / "apps/batch/Pulumi.vo.primage.eu.local.yaml").write_text(text)
    assert validate_repository(lone_repository)[1]


@pytest.mark.parametrize(
    "site", [{"hpc": "x", "priority_classes": 5}, {"hpc": {"backends": {}}}, {"hpc": {"backends": [{"vos": 5}]}}, []]
)
def test_a_site_that_cannot_be_read_has_no_names_and_is_no_defect(site):
    stack = parse_stack_name("hpc/vo.primage.eu.local")
    found = dict(reference_problems(stack, {"primage-hpc:job": {"host": "hpc"}}, site))
    assert "primage-hpc:job.host" in found if site else found == {}


def test_a_mapping_given_as_text_is_a_problem_and_no_defect(repository):
    job = {"name": "a", "image": "primage/base:1", "env": "A=1"}
    found = dict(setting_problems(load_project(repository / "apps/batch"), {"primage-batch:job": job}))
    assert found["primage-batch:job.env"].startswith("must be a mapping, such as {NAME: value}")


def test_an_hpc_jobs_centre_is_one_of_its_site(lone_repository, repository):
    shutil.copy(repository / "Pulumi.local.yaml", lone_repository)
    text = (repository / "apps/hpc/Pulumi.vo.primage.eu.local.yaml").read_text()
    (lone_repository / "apps/hpc/Pulumi.vo.primage.eu.local.yaml").write_text(text.replace("host: hpc", "host: mars"))
    (problem,) = validate_repository(lone_repository)[1]
    assert (problem.field, "it has hpc" in problem.message) == ("primage-hpc:job.host", True)


def test_no_setting_is_explained_by_a_regular_expression(repository):
    """A pattern of pydantic's own would be shown to whoever spelled something differently: primage.contract.spelling has words."""

    def patterns(schema, path=""):
        if isinstance(schema, dict):
            if isinstance(schema.get("pattern"), str):
                yield path
            for key, value in schema.items():
                yield from patterns(value, f"{path}/{key}")
        elif isinstance(schema, list):
            for number, value in enumerate(schema):
                yield from patterns(value, f"{path}/{number}")

    models = {f"{project.name}:{key}": model for project in all_projects(repository) for key, model in load_models(project).items()}
    assert len(models) >= 7
    assert {name: list(patterns(model.model_json_schema())) for name, model in models.items()} == {name: [] for name in models}
