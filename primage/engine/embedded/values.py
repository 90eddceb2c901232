"""Pulumi's wire values to plain ones and back.

On the wire a secret, an unknown or a reference is a mapping with a signature key (Pulumi SDK,
pulumi/runtime/rpc.py). Here a value becomes plain data plus the set of paths that are secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format, struct_pb2

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105  # a signature of the wire format, no secret
RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""Stands for a value not known before the real run."""

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Decoded:
    """A wire value as plain data.

    Attributes:
        value: dicts, lists, strings, numbers, booleans, None.
        secrets: paths of the parts marked secret.
        unknowns: paths of the parts not known yet.
    """

    value: Any
    secrets: frozenset[Path]
    unknowns: frozenset[Path]


def decode(struct: struct_pb2.Struct) -> Decoded:
    """Plain data of a wire struct. Whole numbers come as `int`: the wire has only floating-point ones."""
    secrets: set[Path] = set()
    unknowns: set[Path] = set()

    def walk(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            if value.get(SIGNATURE) == SECRET:
                secrets.add(path)
                return walk(value.get("value"), path)
            if value.get(SIGNATURE) == RESOURCE:
                return value.get("id") or value.get("urn")
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if value == UNKNOWN:
            unknowns.add(path)
        return value

    plain = walk(json_format.MessageToDict(struct), ())
    return Decoded(plain, frozenset(secrets), frozenset(unknowns))


def encode(value: dict[str, Any], secret_keys: Iterator[str] | frozenset[str] = frozenset()) -> struct_pb2.Struct:
    """A wire struct; top-level keys in `secret_keys` are marked secret."""
    hidden = frozenset(secret_keys)
    marked = {key: {SIGNATURE: SECRET, "value": item} if key in hidden else item for key, item in value.items()}
    struct = struct_pb2.Struct()
    json_format.ParseDict(marked, struct)
    return struct
