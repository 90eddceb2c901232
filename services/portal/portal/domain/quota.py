"""What a namespace has left, of the ResourceQuota that the site gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from primage.contract.quantities import InvalidQuantityError, parse_quantity

SHOWN = {
    "requests.cpu": "Processor cores",
    "requests.memory": "Main memory",
    "requests.nvidia.com/gpu": "GPUs",
    "pods": "Pods at a time",
    "count/jobs.batch": "Jobs kept",
    "count/secrets": "Secrets",
    "requests.ephemeral-storage": "Scratch space on nodes",
}
"""What people ask about first; quotas bound other kinds of objects too."""


@dataclass(frozen=True)
class Amount:
    """One amount.

    Attributes:
        used, most: in Kubernetes' notation.
        percent: of the most, 100 at most; None where there is none to be had.
    """

    what: str
    used: str
    most: str
    percent: int | None


def amounts(quotas: Iterable[Mapping[str, Any]]) -> list[Amount]:
    """Of a namespace's quotas, the tightest bound of each amount that is shown."""
    found: dict[str, Amount] = {}
    for quota in quotas:
        status = quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        for key, what in SHOWN.items():
            if key in hard:
                amount = _amount(what, str(used.get(key, "0")), str(hard[key]))
                before = found.get(key)
                if before is None or (before.percent or 0) < (amount.percent or 0):
                    found[key] = amount
    return [found[key] for key in SHOWN if key in found]


def _amount(what: str, used: str, most: str) -> Amount:
    try:
        whole = Fraction(parse_quantity(most))
        percent = min(100, int(100 * Fraction(parse_quantity(used)) / whole)) if whole else None
    except (InvalidQuantityError, ValueError):
        percent = None
    return Amount(what, used, most, percent)
