"""Dynamic providers (`pulumi.dynamic`), called directly in this process.

Pulumi's SDK puts the provider into the resource's own properties, pickled (key `__provider`), for Pulumi's own engine. It
is never looked at here: the resource's type is the name of a provider of this repository (primage/components/dynamic_providers.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from primage.components.dynamic_providers import PREFIX, PROVIDERS, Provider
from primage.engine.api import Action
from primage.engine.embedded.state import CONNECTION, Dynamic
from primage.errors import ExitCode, PrimageError

PICKLED = "__provider"


@dataclass(frozen=True)
class Outcome:
    """A dynamic resource after an operation: its id and its outputs."""

    id: str
    outputs: dict[str, Any]


def is_dynamic(type_: str) -> bool:
    """Whether resources of a type are made by dynamic providers."""
    return type_.startswith(PREFIX)


def find_provider(type_: str, name: str) -> Provider:
    """The provider of a type.

    Raises:
        PrimageError: none is registered for it.
    """
    make = PROVIDERS.get(type_)
    if make is None:
        raise PrimageError(
            f"{name} is made by a dynamic provider ({type_}) that the embedded engine does not know",
            todo="register its provider in primage/components/dynamic_providers.py, or use --engine pulumi",
            code=ExitCode.UNSUPPORTED,
        )
    return make()


def plain(properties: dict[str, Any]) -> dict[str, Any]:
    """The properties without the pickled provider."""
    return {key: value for key, value in properties.items() if key != PICKLED}


def known(kept: Dynamic, inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs as the last `up` had them; how the cluster is reached is not kept, and is as it is now."""
    return {**kept.inputs, **{key: inputs[key] for key in CONNECTION if key in inputs}}


def check(provider: Provider, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What the provider refuses in the new inputs, one sentence a property."""
    return [f"{failure.property}: {failure.reason}" for failure in provider.check(old, new).failures]


def needs(provider: Provider, id_: str, old: dict[str, Any], new: dict[str, Any]) -> Action:
    """Nothing, an update or a replacement, by the provider's own `diff` or, where it does not say, by comparing inputs."""
    result = provider.diff(id_, old, new)
    if result.replaces:
        return Action.REPLACE
    changes = result.changes if result.changes is not None else any(old.get(key) != value for key, value in new.items())
    return Action.UPDATE if changes else Action.SAME


def create(provider: Provider, inputs: dict[str, Any]) -> Outcome:
    """Make the resource."""
    made = provider.create(inputs)
    return Outcome(str(made.id), dict(made.outs or {}))


def update(provider: Provider, id_: str, old: dict[str, Any], new: dict[str, Any]) -> Outcome:
    """Change it in place."""
    return Outcome(id_, dict(provider.update(id_, old, new).outs or {}))
