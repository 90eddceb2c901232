from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primage.contract.quantities import InvalidQuantityError, parse_quantity


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2", 2),
        ("500m", Decimal("0.5")),
        ("4Gi", 4 * 1024**3),
        ("3.6Ti", Decimal("3.6") * 1024**4),
        ("1e3", 1000),
        ("1E", 10**18),
        ("1k", 1000),
    ],
)
def test_notation(text, amount):
    assert parse_quantity(text) == amount


@pytest.mark.parametrize("text", ["", "4GB", "four", "-1", "1 Gi", "4gi", "0x10", "1e", "Gi"])
def test_refused(text):
    with pytest.raises(InvalidQuantityError, match="is not a valid quantity"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["9" * 31, "9" * 30, "1e999999", "1e99", "16Ei", "1." + "1" * 31])
def test_more_than_kubernetes_counts_is_refused_and_takes_no_time(text):
    with pytest.raises(InvalidQuantityError, match="is not a valid quantity"):
        parse_quantity(text)


@given(st.integers(0, 10**6), st.sampled_from(["", "Ki", "Mi", "Gi"]))
def test_grows_with_the_number(number, unit):
    assert parse_quantity(f"{number + 1}{unit}") > parse_quantity(f"{number}{unit}")
