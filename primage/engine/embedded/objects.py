"""Kubernetes objects as data: addresses, differences, masking. No I/O."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from primage.clients.cluster import Object
from primage.contract.quantities import InvalidQuantityError, parse_quantity
from primage.engine.api import MASK, FieldChange
from primage.engine.embedded.values import Path

_SERVER_SIDE = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")


def is_secret_path(obj: Object, path: Path, secrets: frozenset[Path]) -> bool:
    """Whether the value at `path` must never be shown: data of a Secret, or marked secret by the program."""
    if obj.get("kind") == "Secret" and path[:1] in {("data",), ("stringData",)}:
        return True
    return any(path[: len(secret)] == secret for secret in secrets)


def masked(obj: Object, secrets: frozenset[Path]) -> Object:
    """A copy with every secret value replaced by `[secret]`."""
    result: Object = hidden(obj, lambda path, value: not isinstance(value, dict | list) and is_secret_path(obj, path, secrets))
    return result


def hidden(value: Any, secret: Callable[[Path, Any], bool], path: Path = ()) -> Any:
    """A copy of plain data with `[secret]` in place of what is secret."""
    if secret(path, value):
        return MASK
    if isinstance(value, dict):
        return {key: hidden(item, secret, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [hidden(item, secret, (*path, index)) for index, item in enumerate(value)]
    return value


def without_server_fields(obj: Object) -> Object:
    """A copy without status and without what the server alone writes."""
    bare = copy.deepcopy({key: value for key, value in obj.items() if key != "status"})
    for name in _SERVER_SIDE:
        bare.get("metadata", {}).pop(name, None)
    return bare


def differences(before: Object, after: Object, secrets: frozenset[Path] = frozenset()) -> tuple[FieldChange, ...]:
    """Every field that differs between two objects, secrets masked."""
    found: list[FieldChange] = []

    def show(value: Any, path: Path) -> Any:
        if value is None:
            return None
        hidden = is_secret_path(after, path, secrets) or is_secret_path(before, path, secrets)
        return MASK if hidden else value

    def walk(old: Any, new: Any, path: Path) -> None:
        if isinstance(old, dict) and isinstance(new, dict):
            for key in sorted({*old, *new}):
                walk(old.get(key), new.get(key), (*path, key))
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for index, (was, will) in enumerate(zip(old, new, strict=True)):
                walk(was, will, (*path, index))
        elif old != new:
            found.append(FieldChange(dotted(path), show(old, path), show(new, path)))

    walk(without_server_fields(before), without_server_fields(after), ())
    return tuple(found)


def declared_differences(
    live: Object, declared: Object, manager: str, secrets: frozenset[Path] = frozenset()
) -> tuple[FieldChange, ...]:
    """What of a declaration differs from a live object: fields that the server filled in do not count.

    A field that `manager` applied before and that is declared no longer is one.
    """
    found: list[FieldChange] = []

    def note(old: Any, new: Any, path: Path) -> None:
        hidden = is_secret_path(declared, path, secrets) or is_secret_path(live, path, secrets)
        before, after = (MASK if hidden and value is not None else value for value in (old, new))
        found.append(FieldChange(dotted(path), before, after))

    def walk(old: Any, new: Any, applied: Any, path: Path) -> None:
        if isinstance(old, dict) and isinstance(new, dict):
            for key in sorted({*new, *(key for key in old if f"f:{key}" in applied)}):
                if key in new:
                    walk(old.get(key), new[key], applied.get(f"f:{key}", {}), (*path, key))
                else:
                    note(old[key], None, (*path, key))
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for index, (was, will) in enumerate(zip(old, new, strict=True)):
                walk(was, will, _applied_to_item(applied, was), (*path, index))
        elif not _same(old, new, path):
            note(old, new, path)

    walk(without_server_fields(live), without_server_fields(declared), _applied(live, manager), ())
    return tuple(found)


def _applied(live: Object, manager: str) -> dict[str, Any]:
    """The fields that a manager applied, as the server notes them (`fieldsV1`)."""
    entries = live.get("metadata", {}).get("managedFields", [])
    fields: dict[str, Any] = next(
        (entry.get("fieldsV1") or {} for entry in entries if entry.get("manager") == manager and entry.get("operation") == "Apply"),
        {},
    )
    return fields


def _applied_to_item(applied: dict[str, Any], item: Any) -> dict[str, Any]:
    """The part about one item of a list, which is known by its keys: `k:{"name":"job"}`."""
    for name, fields in applied.items() if isinstance(item, dict) else ():
        if name.startswith("k:") and json.loads(name[2:]).items() <= item.items():
            return dict(fields)
    return {}


def _same(old: Any, new: Any, path: Path) -> bool:
    """Whether two values mean the same: amounts are kept by the server in a spelling of its own."""
    if old == new or not {"resources", "sizeLimit"} & set(path):
        return bool(old == new)
    try:
        return parse_quantity(str(old)) == parse_quantity(str(new))
    except InvalidQuantityError:
        return False


def dotted(path: Path) -> str:
    """`spec.template.containers[0].image`; keys that themselves have dots are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "." in part or "/" in part:
            text += f'["{part}"]'
        else:
            text += f".{part}" if text else part
    return text
