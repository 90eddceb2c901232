"""Kubernetes quantities (`500m`, `4Gi`), by the rules of apimachinery's resource.Quantity: the one reader of them."""

from __future__ import annotations

import re
from decimal import Decimal

_NUMBER = r"[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}"
_PATTERN = re.compile(rf"({_NUMBER})(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{{1,2}})?")
"""So few digits that no text, whoever wrote it, takes long to compute with; Kubernetes counts no further either."""
MOST = Decimal(2) ** 63
"""What Kubernetes counts up to."""
_FACTORS = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


class InvalidQuantityError(ValueError):
    """The text is not a valid quantity."""


def parse_quantity(text: str) -> Decimal:
    """The amount in the unit's base (cores, bytes, pieces).

    Raises:
        InvalidQuantityError: with the text and what it could look like.
    """
    match = _PATTERN.fullmatch(str(text))
    if not match:
        raise InvalidQuantityError(f"{text!r} is not a valid quantity; write one such as 2, 500m, 4Gi or 3.6Ti")
    number, unit = match.group(1), match.group(2) or ""
    factor = _FACTORS[unit] if unit in _FACTORS else Decimal(10) ** int(unit[1:])
    if (amount := Decimal(number) * factor) > MOST:
        raise InvalidQuantityError(f"{text!r} is not a valid quantity: Kubernetes counts to 2^63")
    return amount
