import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primage.contract.names import MAX_LABEL, namespace_for

IDENTITIES = st.text(alphabet="ab.-@_A dot", min_size=1, max_size=90) | st.emails() | st.text(min_size=1, max_size=40)


def test_papers_own_example():
    assert namespace_for("serlohu@upv.es") == "serlohu-at-upv-dot-es"


def test_vo():
    assert namespace_for("vo.primage.eu") == "vo-dot-primage-dot-eu"


@given(IDENTITIES)
def test_is_a_namespace(identity):
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", namespace_for(identity))
    assert len(namespace_for(identity)) <= MAX_LABEL


@given(IDENTITIES, IDENTITIES)
def test_no_two_identities_share_one(one, other):
    assert (namespace_for(one) == namespace_for(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.b@c", "a-dot-b@c"), ("A@b.c", "a@b.c"), ("a@0123456789", "a-at"), ("a.dot.b", "a..b"), ("x" * 80, "x" * 81)],
)
def test_lookalikes_differ(one, other):
    assert namespace_for(one) != namespace_for(other)


def test_empty_is_refused():
    with pytest.raises(ValueError, match="empty"):
        namespace_for("")
