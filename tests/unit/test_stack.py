import pytest

from primage.contract.names import namespace_for
from primage.errors import PrimageError
from primage.projects.project import StackName, parse_stack_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("local", StackName("local")),
        ("batch/vo.primage.eu.local", StackName("local", "batch", "vo.primage.eu")),
        ("batch/vo.primage.eu.local--trial", StackName("local", "batch", "vo.primage.eu", "trial")),
        ("batch/a-at-b-dot-eu_vo.local--r1", StackName("local", "batch", "vo", "r1", "a-at-b-dot-eu")),
        ("batch/a-b-c--0123456789_vo.local", StackName("local", "batch", "vo", "", "a-b-c--0123456789")),
        ("study-histology/vo.upv", StackName("upv", "study-histology", "vo")),
    ],
)
def test_reads_and_writes_back(text, name):
    assert parse_stack_name(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Local",
        "a b",
        "batch/",
        "batch/local",
        "batch/vo.primage.eu.Local",
        "batch/vo.local--",
        "batch/../x.local",
        "batch/_vo.local",
        "batch/A_vo.local",
    ],
)
def test_refused_with_what_it_should_look_like(text):
    with pytest.raises(PrimageError, match="is not a stack name"):
        parse_stack_name(text)


def test_a_run_shares_its_bases_settings():
    assert parse_stack_name("batch/vo.local--r1").config_stack == "vo.local"


@pytest.mark.parametrize("identity", ["ann@uni.eu", "a_b@uni.eu", "A.B+c@uni.eu"])
def test_a_member_may_be_written_with_their_identity(identity):
    name = parse_stack_name(f"batch/{identity}_vo.primage.eu.local--r1")
    assert name.namespace == name.user == namespace_for(identity)
    assert (name.vo, name.site, name.run, name.config_stack) == ("vo.primage.eu", "local", "r1", "vo.primage.eu.local")
    assert parse_stack_name(str(name)) == name
