"""Addresses in HOME, and what a pod says of its files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primage.errors import PrimageError
from primage.operations.transfer import _Remote, parse_address


@pytest.mark.parametrize("text", ["results.csv", "/srv/a:b", "./a:b", "folder/file"])
def test_a_path_of_this_machine_is_no_address(text):
    assert parse_address(text) is None


def test_an_address_names_whose_volume_and_what_in_it():
    found = parse_address("member1@primage.eu_vo.primage.eu.local:private/a/b.csv")
    assert found is not None
    assert (found.stack.site, found.stack.vo, found.stack.namespace) == ("local", "vo.primage.eu", "member1-at-primage-dot-eu")
    assert (found.in_pod, found.folder) == ("/volumes/private/a/b.csv", False)


def test_a_slash_at_the_end_names_a_folder():
    for text in ("vo.primage.eu.local:shared/", "vo.primage.eu.local:shared", "vo.primage.eu.local:shared/in/"):
        found = parse_address(text)
        assert found is not None
        assert found.folder


@pytest.mark.parametrize(
    "text",
    ["vo.primage.eu.local:etc/passwd", "vo.primage.eu.local:private/../../x", "local:private/x", "a:b"],
)
def test_what_is_no_place_in_a_volume_is_refused(text):
    with pytest.raises(PrimageError):
        parse_address(text)


@given(st.dictionaries(st.sampled_from(["path", "size", "sha256", "more"]), st.one_of(st.text(), st.integers(), st.none())))
def test_a_pod_names_no_path_outside_the_folder_that_is_copied(item):
    try:
        found = _Remote.of(item)
    except PrimageError:
        return
    assert not found.path.startswith("/")
    assert ".." not in found.path.split("/")
    assert found.size >= 0
