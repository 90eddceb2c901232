"""A form from the JSON Schema of an application's settings, and settings from what somebody has written into it.

What is wrong with settings is not said here: their own model says it, as it does to `primage validate`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Schema = Mapping[str, Any]
DEEPEST = 3
"""Settings below settings below settings."""


class Kind(StrEnum):
    """How a setting is written."""

    TEXT = "text"
    PROGRAM = "program"
    NUMBER = "number"
    CHOICE = "choice"
    LINES = "lines"
    PAIRS = "pairs"
    JSON = "json"


HINTS = {
    Kind.LINES: "One in each line; or a JSON list, for entries with lines of their own.",
    Kind.PAIRS: "NAME=value, one in each line; or a JSON object.",
    Kind.JSON: "As JSON.",
}


@dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        path: from the top of the settings, with dots: `producer.arguments`.
        says: what it is.
        default: what it is when nothing is written, as a text; empty where that is nothing.
        choices: of Kind.CHOICE.
    """

    path: str
    kind: Kind
    says: str
    required: bool
    default: str = ""
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As a stack's file has it."""
        return self.path.rpartition(".")[2]

    @property
    def hint(self) -> str:
        """How it is written."""
        return HINTS.get(self.kind, "")

    @property
    def long(self) -> bool:
        """Whether it may have several lines."""
        return self.kind in {Kind.PROGRAM, Kind.LINES, Kind.PAIRS, Kind.JSON}


@dataclass(frozen=True)
class Group:
    """Settings that belong together.

    Attributes:
        path: what they are below; empty for those at the top.
    """

    path: str
    says: str
    fields: tuple[Field, ...]


def groups_of(schema: Schema, programs: Iterable[str] = ()) -> list[Group]:
    """A form's fields: first those at the top, what is required before the rest.

    Args:
        programs: settings with a program's text.
    """
    return list(_groups(schema, schema.get("$defs", {}), "", "", frozenset(programs), required=True))


def _groups(
    schema: Schema, known: Schema, path: str, says: str, programs: frozenset[str], *, required: bool, depth: int = 0
) -> Iterator[Group]:
    own, below = [], []
    wanted = set(schema.get("required", [])) if required else set()
    for name, given in sorted(schema.get("properties", {}).items(), key=lambda item: item[0] not in wanted):
        part, optional = _resolved(given, known)
        where = f"{path}.{name}" if path else name
        about = str(given.get("description", part.get("description", "")))
        if "properties" in part and depth < DEEPEST:
            below.append(_groups(part, known, where, about, programs, required=name in wanted and not optional, depth=depth + 1))
        else:
            own.append(_field(where, given, part, about, name in wanted, programs))
    if own:
        yield Group(path, says, tuple(own))
    for groups in below:
        yield from groups


def _resolved(given: Schema, known: Schema) -> tuple[Schema, bool]:
    """What a schema is about, and whether it may be nothing at all."""
    options = [part for part in given.get("anyOf", [given]) if part.get("type") != "null"]
    part = options[0] if len(options) == 1 else {}
    if "$ref" in part:
        part = {**known.get(str(part["$ref"]).rpartition("/")[2], {})}
    return part, "anyOf" in given and len(options) < len(given["anyOf"])


def _field(path: str, given: Schema, part: Schema, says: str, required: bool, programs: frozenset[str]) -> Field:
    kind, choices = _kind(part)
    if kind is Kind.TEXT and path in programs:
        kind = Kind.PROGRAM
    default = given.get("default")
    text = "" if default is None or default in ([], {}, ()) else written(default, kind)
    return Field(path, kind, says, required, text, choices)


def _kind(part: Schema) -> tuple[Kind, tuple[str, ...]]:
    if "enum" in part or "const" in part:
        return Kind.CHOICE, tuple(str(value) for value in part.get("enum", [part.get("const")]))
    match part.get("type"):
        case "boolean":
            return Kind.CHOICE, ("true", "false")
        case "string":
            return Kind.TEXT, ()
        case "integer" | "number":
            return Kind.NUMBER, ()
        case "array" if part.get("items", {}).get("type") == "string":
            return Kind.LINES, ()
        case "object" if part.get("additionalProperties", {}) == {"type": "string"}:
            return Kind.PAIRS, ()
    return Kind.JSON, ()


def written(value: Any, kind: Kind) -> str:
    """A setting's value as it stands in a form; `read` makes the value of it again."""
    if value is None:
        return ""
    if kind is Kind.LINES and _plain_list(value):
        return "\n".join(value)
    if kind is Kind.PAIRS and _plain_pairs(value):
        return "\n".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, str) and kind in {Kind.TEXT, Kind.PROGRAM, Kind.CHOICE, Kind.NUMBER}:
        return value
    return json.dumps(value, ensure_ascii=False)


def _plain_list(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and all(isinstance(item, str) and item and item == item.strip() and len(item.splitlines()) == 1 for item in value)
        and not (value and value[0].startswith("["))
    )


def _plain_pairs(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    lines = [f"{name}={text}" for name, text in value.items() if isinstance(text, str)]
    return (
        len(lines) == len(value)
        and all(
            len(line.splitlines()) == 1 and line == line.strip() and "=" not in name
            for line, name in zip(lines, value, strict=True)
        )
        and all(value)
        and not (lines and lines[0].startswith("{"))
    )


def texts_of(groups: Iterable[Group], settings: Any) -> dict[str, str]:
    """What a form holds for these settings, by path."""
    found = {}
    for group in groups:
        for field in group.fields:
            at: Any = settings
            for part in field.path.split("."):
                at = at.get(part) if isinstance(at, Mapping) else None
            found[field.path] = written(at, field.kind)
    return found


def settings_of(groups: Iterable[Group], texts: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Settings as a form says them, and by path what cannot be read. What is left empty is left to the model's default."""
    settings: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for group in groups:
        for field in group.fields:
            text = texts.get(field.path, "").replace("\r\n", "\n")
            if not text.strip():
                continue
            try:
                value = read(text, field.kind)
            except ValueError as error:
                problems[field.path] = [str(error)]
                continue
            at = settings
            *above, name = field.path.split(".")
            for part in above:
                at = at.setdefault(part, {})
            at[name] = value
    return settings, problems


def read(text: str, kind: Kind) -> Any:
    """The value of what somebody has written; a number that is none stays as it is, for the model to refuse.

    Raises:
        ValueError: it is written in another way.
    """
    bare = text.strip()
    match kind:
        case Kind.PROGRAM:
            return text
        case Kind.TEXT:
            return bare
        case Kind.CHOICE:
            return {"true": True, "false": False}.get(bare, bare)
        case Kind.NUMBER:
            return _number(bare)
        case Kind.LINES if not bare.startswith("["):
            return [line.strip() for line in bare.splitlines() if line.strip()]
        case Kind.PAIRS if not bare.startswith("{"):
            return _pairs(bare)
    try:
        return json.loads(bare)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"must be JSON ({error})") from error


def _pairs(text: str) -> dict[str, str]:
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals or not name:
            raise ValueError(f"must be NAME=value in each line (given: {line[:100]!r})")
        found[name] = value
    return found


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def by_field(groups: Iterable[Group], root: str, problems: Iterable[tuple[str, str]]) -> tuple[dict[str, list[str]], list[str]]:
    """What a model says is wrong, at the fields it is about, and what is about none of them.

    Args:
        root: what the model's paths begin with: `primage-batch:job`.
    """
    paths = [field.path for group in groups for field in group.fields]
    at: dict[str, list[str]] = {}
    others = []
    for where, message in problems:
        below = where.removeprefix(root).removeprefix(".")
        named = [path for path in paths if below == path or below.startswith((f"{path}.", f"{path}["))]
        if named:
            at.setdefault(max(named, key=len), []).append(message)
        else:
            others.append(f"{below or root}: {message}")
    return at, others
