"""States of the first form, read once: the next write is of the form of today.

That form kept how the cluster is reached and, pickled, the dynamic providers themselves. Both are left out unread; the
provider is found by what its resource is part of.
"""

from __future__ import annotations

from typing import Any

from primage.components.dynamic_providers import PREFIX, QUEUE_CREDENTIALS, SESSION_TOKEN, UNNAMED
from primage.errors import PrimageError

BY_PARENT = {"primage:app:Queue": QUEUE_CREDENTIALS, "primage:app:Session": SESSION_TOKEN}
"""What a resource of the unnamed type is, by the type of the component it is in."""
_KEPT = ("urn", "type", "name", "status", "order", "level", "ref", "digest", "protect", "retain")
_LEFT_OUT = ("kubeconfig", "context", "dynamic")


def upgraded(body: dict[str, Any], where: str) -> dict[str, Any]:
    """The document in today's form; what is wrong in it is for today's schema to refuse.

    Raises:
        PrimageError: a dynamic provider of it is none of this repository's.
        ValueError, KeyError, TypeError, AttributeError: it is not a state.
    """
    resources = dict(_entry(urn, raw, where) for urn, raw in body["resources"].items())
    rest = {key: value for key, value in body.items() if key not in {"version", "resources"}}
    return {"written": 0.0, **rest, "version": 2, "resources": resources}


def _entry(urn: str, raw: dict[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    if unknown := set(raw) - {*_KEPT, *_LEFT_OUT}:
        raise ValueError(f"a resource has the unknown key {min(unknown)[:100]!r}")
    entry = {key: raw[key] for key in _KEPT if key in raw}
    if not str(raw["type"]).startswith(PREFIX):
        return urn, entry
    type_ = _type(urn, raw, where)
    # An address there may be is left to the schema to refuse.
    kept = {key: value for key, value in raw["dynamic"].items() if key != "provider"}
    urn = urn.replace(f"${UNNAMED}::", f"${type_}::")
    own = str(raw["urn"]).replace(f"${UNNAMED}::", f"${type_}::")
    return urn, {**entry, "urn": own, "type": type_, "dynamic": kept}


def _type(urn: str, raw: dict[str, Any], where: str) -> str:
    path = urn.split("::")[2] if urn.count("::") > 2 else ""
    parent = path.removesuffix(f"${UNNAMED}").rpartition("$")[2]
    if raw["type"] != UNNAMED or parent not in BY_PARENT:
        raise PrimageError(
            f"the state names {str(raw['name'])[:100]!r}, made by a dynamic provider that this primage does not know",
            where=where,
            todo="destroy the stack with the primage that made it, or register it in primage/components/dynamic_providers.py",
        )
    return BY_PARENT[parent]
