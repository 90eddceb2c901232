"""Kubernetes objects as data: addresses, differences, masking. No I/O."""

from __future__ import annotations

import copy
from typing import Any

from primage.clients.cluster import Object
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

    def walk(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        return MASK if is_secret_path(obj, path, secrets) else value

    result: Object = walk(obj, ())
    return result


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
