from hypothesis import given
from hypothesis import strategies as st

from primage.engine.embedded.values import SECRET, SIGNATURE, UNKNOWN, decode, encode

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), PLAIN, max_size=4))
def test_plain_values_come_back(value):
    decoded = decode(encode(value))
    assert decoded.value == value
    assert not decoded.secrets
    assert not decoded.unknowns


def test_secrets_are_unwrapped_and_remembered():
    decoded = decode(encode({"data": {"key": {SIGNATURE: SECRET, "value": "s3cret"}}, "name": "n"}))
    assert decoded.value == {"data": {"key": "s3cret"}, "name": "n"}
    assert decoded.secrets == {("data", "key")}


def test_secret_keys_are_marked():
    assert decode(encode({"data": {"a": "b"}}, frozenset({"data"}))).secrets == {("data",)}


def test_unknowns_are_found():
    assert decode(encode({"spec": {"a": [1, UNKNOWN]}})).unknowns == {("spec", "a", 1)}
