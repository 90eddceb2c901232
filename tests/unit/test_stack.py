import pytest

from primage.errors import PrimageError
from primage.stack import StackName, parse_stack_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("local", StackName("local")),
        ("batch/vo.primage.eu.local", StackName("local", "batch", "vo.primage.eu")),
        ("batch/vo.primage.eu.local--trial", StackName("local", "batch", "vo.primage.eu", "trial")),
        ("study-histology/vo.upv", StackName("upv", "study-histology", "vo")),
    ],
)
def test_reads_and_writes_back(text, name):
    assert parse_stack_name(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text", ["", "Local", "a b", "batch/", "batch/local", "batch/vo.primage.eu.Local", "batch/vo.local--", "batch/../x.local"]
)
def test_refused_with_what_it_should_look_like(text):
    with pytest.raises(PrimageError, match="is not a stack name"):
        parse_stack_name(text)


def test_a_run_shares_its_bases_settings():
    assert parse_stack_name("batch/vo.local--r1").config_stack == "vo.local"
