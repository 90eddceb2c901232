"""A form of a disease: its sections and fields as they are shown and searched by, and what is wrong with answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from pydantic import ValidationError as GrammarError

from datasets.domain.errors import FormError
from datasets.domain.grammar import (
    MOST_BYTES,
    MOST_FIELDS,
    AnyField,
    Choice,
    Earlier,
    FormFile,
    Line,
    Many,
    Number,
    Option,
    Repeated,
    YesNo,
)

Values = dict[str, Any]
"""Answers: by section, then by field; a list of such by a section that is repeated."""
MOST_WRONG = 50
"""Answers that are named as wrong at a time."""
LONGEST_SHOWN = 40


@dataclass(frozen=True)
class Wrong:
    """What is wrong with one answer.

    Attributes:
        path: of the field, with dots: `staging.stage`, `treatment.0.kind`.
        says: what, and what to do, to the person who fills it in.
        missing: it is only that nothing is there, which a draft may be.
    """

    path: str
    says: str
    missing: bool = False


@dataclass(frozen=True)
class FormField:
    """One field.

    Attributes:
        path: its section and its name, with a dot.
        required: a complete form has it, if it has the section.
        about: what the file says of it.
    """

    path: str
    required: bool
    about: AnyField

    @property
    def name(self) -> str:
        """Within its section."""
        return self.path.rpartition(".")[2]

    @property
    def options(self) -> tuple[Option, ...]:
        """The answers to choose from, if there are any."""
        return self.about.options if isinstance(self.about, Choice | Many) else ()

    @property
    def searchable(self) -> bool:
        """Whether cases are found by it."""
        return not isinstance(self.about, Line)

    @property
    def kind(self) -> str:
        """For a page: choice, many, number, yes-no or line."""
        kinds = {Choice: "choice", Many: "many", Number: "number", YesNo: "yes-no", Line: "line"}
        return kinds[type(self.about)]


@dataclass(frozen=True)
class Section:
    """Fields that belong together.

    Attributes:
        most: how often it may be filled in; 0 for a section that is there once.
    """

    name: str
    title: str
    says: str
    required: bool
    most: int
    fields: tuple[FormField, ...]


@dataclass(frozen=True)
class Form:
    """One version of a disease's form."""

    file: FormFile
    schema: Mapping[str, Any] = field(repr=False)
    sections: tuple[Section, ...]

    @property
    def disease(self) -> str:
        """What it is of."""
        return self.file.disease

    @property
    def version(self) -> int:
        """Which of its disease's it is."""
        return self.file.version

    @property
    def earlier(self) -> Earlier | None:
        """How answers to the version before are read."""
        return self.file.earlier

    @cached_property
    def fields(self) -> dict[str, FormField]:
        """All fields by their paths."""
        return {one.path: one for section in self.sections for one in section.fields}

    @cached_property
    def _validator(self) -> Draft202012Validator:
        return Draft202012Validator(self.schema)

    def wrong(self, values: object) -> list[Wrong]:
        """What is wrong with answers, at most MOST_WRONG of it, in the order of the form."""
        if longer := list(islice(self._longer(values), MOST_WRONG)):
            return longer
        found: dict[tuple[str, str], Wrong] = {}
        for error in self._validator.iter_errors(values):
            for wrong in self._said(error):
                found.setdefault((wrong.path, wrong.says), wrong)
            if len(found) >= MOST_WRONG:
                break
        if not _writable(values) and all(one.missing for one in found.values()):
            return [Wrong("", "There is a number or a letter in this that cannot be kept: write it in another way.")]
        return sorted(found.values(), key=self._place)[:MOST_WRONG]

    def _longer(self, values: object) -> Iterator[Wrong]:
        """Lists with more answers than are offered: to compare each with each takes the square of the time, so none are."""
        for section in self.sections:
            given = values.get(section.name) if isinstance(values, dict) else None
            lines = {f"{section.name}.{number}": line for number, line in enumerate(given)} if isinstance(given, list) else {}
            for path, line in (lines or {section.name: given}).items():
                for one in section.fields if isinstance(line, dict) else ():
                    answers = line.get(one.name)
                    if isinstance(one.about, Many) and isinstance(answers, list) and len(answers) > len(one.options):
                        yield Wrong(f"{path}.{one.name}", "Choose each answer once.")

    def wrong_in_draft(self, values: object) -> list[Wrong]:
        """What is wrong with answers of which some are still to come."""
        return [one for one in self.wrong(values) if not one.missing]

    def _place(self, wrong: Wrong) -> tuple[int, str]:
        names = [one for section in self.sections for one in (section.name, *(f.path for f in section.fields))]
        plain = ".".join(part for part in wrong.path.split(".") if not part.isdigit())
        return (names.index(plain) if plain in names else len(names), wrong.path)

    def _said(self, error: ValidationError) -> Iterator[Wrong]:
        where = ".".join(str(part) for part in error.absolute_path)
        schema_path = list(error.absolute_schema_path)
        if schema_path[0] == "allOf":
            rule = self.file.rules[int(schema_path[1])]
            # A rule may ask for an answer that is still to come; and one may be changed before it is complete.
            yield Wrong(rule.at, rule.says, missing=True)
        elif error.validator == "required":
            for name in error.validator_value:
                if name not in error.instance:
                    path = f"{where}.{name}" if where else name
                    yield from self._missing(path)
        elif error.validator == "additionalProperties":
            yield Wrong(where, "There is something here that the form does not ask for: take it away.")
        else:
            yield Wrong(self._field_of(where), self._mistake(where, error))

    def _missing(self, path: str) -> Iterator[Wrong]:
        section = next((one for one in self.sections if one.name == path), None)
        if section is None or section.most:
            yield Wrong(path, "This is needed: fill it in.", missing=True)
            return
        needed = [one for one in section.fields if one.required]
        for one in needed:
            yield Wrong(one.path, "This is needed: fill it in.", missing=True)
        if not needed:
            yield Wrong(path, "This section is needed: fill in something of it.", missing=True)

    def _field_of(self, where: str) -> str:
        """The field that a path leads to or into: a wrong one among several answers is said at the field."""
        parts = where.split(".")
        known = self._field_at(where)
        return where if known or len(parts) < 3 else ".".join(parts[:-1]) if self._field_at(".".join(parts[:-1])) else where

    def _field_at(self, where: str) -> FormField | None:
        parts = where.split(".")
        if len(parts) == 3 and parts[1].isdigit():
            parts = [parts[0], parts[2]]
        return self.fields.get(".".join(parts))

    def _mistake(self, where: str, error: ValidationError) -> str:
        one = self._field_at(self._field_of(where))
        if one is None:
            return "This is not what the form asks for here: take it away."
        about = one.about
        if isinstance(about, Number):
            kind = "a whole number" if about.type == "integer" else "a number"
            return f"Give {kind} from {about.minimum:g} to {about.maximum:g}{f' {about.unit}' if about.unit else ''}."
        if isinstance(about, Line):
            return f"Give text of at most {about.most} characters."
        if isinstance(about, YesNo):
            return "Choose yes or no."
        if error.validator == "uniqueItems":
            return "Choose each answer once."
        shown = f" ({str(error.instance)[:LONGEST_SHOWN]!r} is not one of them)" if isinstance(error.instance, str) else ""
        return f"Choose {'from the answers' if isinstance(about, Many) else 'one of the answers'} that are offered{shown}."


def form_of(text: str | bytes, name: str) -> Form:
    """The form that a file holds.

    Args:
        name: of the file, for errors.

    Raises:
        FormError: it holds none, or says more than forms may.
    """
    if len(text) > MOST_BYTES:
        raise FormError(f"{name} has more than {MOST_BYTES} bytes: a form's file is smaller; split the disease's form")
    try:
        schema = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_number)
        file = FormFile.model_validate(schema)
        Draft202012Validator.check_schema(schema)
    except GrammarError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(str(part) for part in first["loc"])
        raise FormError(f"{name}, at {at or 'its top'}: {first['msg']}; write what a form may say (domain/grammar.py)") from error
    except SchemaError as error:
        raise FormError(f"{name} is not a JSON Schema of 2020-12: {error.message[:200]}") from error
    except (ValueError, RecursionError) as error:
        raise FormError(f"{name} is not JSON: {str(error)[:200]}") from error
    form = Form(file, schema, tuple(_sections(file)))
    _require_consistent(form, name)
    return form


def _writable(values: object) -> bool:
    """Whether all numbers are finite, so that they are above or below others, and all letters are letters."""
    try:
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice in one object")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number in JSON")


def _sections(file: FormFile) -> Iterator[Section]:
    for name, section in file.properties.items():
        fields = section.items if isinstance(section, Repeated) else section
        yield Section(
            name=name,
            title=section.title,
            says=section.description or "",
            required=name in file.required,
            most=section.most if isinstance(section, Repeated) else 0,
            fields=tuple(FormField(f"{name}.{one}", one in fields.required, about) for one, about in fields.properties.items()),
        )


def _require_consistent(form: Form, name: str) -> None:
    searched = [one for one in form.fields.values() if one.searchable]
    if len(searched) > MOST_FIELDS:
        raise FormError(
            f"{name} has {len(searched)} fields that are searched by: at most {MOST_FIELDS} can be; make some lines of text"
        )
    for one in form.fields.values():
        answers = [option.const for option in one.options]
        if len(set(answers)) < len(answers):
            raise FormError(f"{name}, at {one.path}: one answer is offered twice; give each its own `const`")
    for rule in form.file.rules:
        if rule.at not in form.fields:
            raise FormError(f"{name}: a rule is said at {rule.at}, which is no field; name a field in x-at")
    if set(form.file.required) - {section.name for section in form.sections}:
        raise FormError(f"{name}: `required` names a section that is not there")
    if form.version > 1 and form.earlier is None:
        raise FormError(f"{name} does not say how answers to version {form.version - 1} are read: give x-from-the-version-before")
