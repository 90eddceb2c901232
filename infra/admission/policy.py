"""A policy: the requests it looks at, and the rules for them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rule:
    """One thing that must hold.

    Attributes:
        holds: CEL expression, true for what is admitted.
        message: what whoever is refused is told.
        says: the same as a CEL expression, where it has values to name.
    """

    holds: str
    message: str
    says: str = ""


@dataclass(frozen=True)
class On:
    """Requests a policy looks at: `resources` of an API group, and what is done to them."""

    group: str
    resources: tuple[str, ...]
    operations: tuple[str, ...] = ("CREATE", "UPDATE")


@dataclass(frozen=True)
class Policy:
    """One ValidatingAdmissionPolicy with its binding.

    Attributes:
        name: without the prefix `primage-`.
        conditions: by name, CEL expressions; the policy ignores a request for which one of them is false.
        variables: by name, CEL expressions; each may use those before it.
    """

    name: str
    on: tuple[On, ...]
    rules: tuple[Rule, ...]
    conditions: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
