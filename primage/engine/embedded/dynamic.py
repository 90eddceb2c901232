"""Dynamic providers (`pulumi.dynamic`), called directly in this process.

The provider comes as Pulumi's SDK serialises it into the resource's own properties (key `__provider`: base64 of dill).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

PROVIDER = "__provider"


@dataclass(frozen=True)
class Outcome:
    """A dynamic resource after an operation: its id and its outputs."""

    id: str
    outputs: dict[str, Any]


def load_provider(properties: dict[str, Any]) -> Any:
    """The provider a program defined."""
    import dill

    return dill.loads(base64.b64decode(properties[PROVIDER]))  # noqa: S301  # the program itself wrote it, as Pulumi has it


def plain(properties: dict[str, Any]) -> dict[str, Any]:
    """The properties without the provider itself."""
    return {key: value for key, value in properties.items() if key != PROVIDER}


def check(provider: Any, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What the provider refuses in the new inputs, one sentence a property."""
    return [f"{failure.property}: {failure.reason}" for failure in provider.check(old, new).failures]


def needs(provider: Any, id_: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    """`same`, `update` or `replace`, by the provider's own `diff` or, where it does not say, by comparing inputs."""
    result = provider.diff(id_, old, new)
    if result.replaces:
        return "replace"
    changes = result.changes if result.changes is not None else any(old.get(key) != value for key, value in new.items())
    return "update" if changes else "same"


def create(provider: Any, inputs: dict[str, Any]) -> Outcome:
    """Make the resource."""
    made = provider.create(inputs)
    return Outcome(str(made.id), dict(made.outs or {}))


def update(provider: Any, id_: str, old: dict[str, Any], new: dict[str, Any]) -> Outcome:
    """Change it in place."""
    return Outcome(id_, dict(provider.update(id_, old, new).outs or {}))


def delete(id_: str, properties: dict[str, Any], serialized: str) -> None:
    """Remove it, with the provider as it was when the resource was made."""
    load_provider({PROVIDER: serialized}).delete(id_, properties)
