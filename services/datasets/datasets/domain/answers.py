"""Answers as a browser's form sends them, names with texts, and as they are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from datasets.domain.errors import RefusedError
from datasets.domain.forms import Form, FormField, Section, Values
from datasets.domain.grammar import Line, Many, Number, YesNo

YES, NO = "yes", "no"
MOST_PAIRS = 2000
"""In one form that a browser sends."""
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_NUMBER = re.compile(r"-?[0-9]{1,15}([.,][0-9]{1,12})?")

Pair = tuple[str, str]


def answered(form: Form, pairs: Iterable[Pair]) -> Values:
    """What a browser's form says; what is left empty is no answer, and a line without one is no line.

    What is not written as its field asks stays as it was written, so that the form's own check can say so at the field.

    Raises:
        RefusedError: it names what the form does not ask for.
    """
    given: dict[str, list[str]] = {}
    for number, (name, text) in enumerate(pairs):
        if number >= MOST_PAIRS:
            raise RefusedError(413, f"a form has at most {MOST_PAIRS} answers")
        if text.strip():
            given.setdefault(name, []).append(text.strip())
    values: Values = {}
    for section in form.sections:
        if section.most:
            lines = [line for number in range(section.most) if (line := _section(section, given, f"{section.name}.{number}"))]
            if lines:
                values[section.name] = lines
        elif found := _section(section, given, section.name):
            values[section.name] = found
    if given:
        raise RefusedError(422, f"the form of {form.disease} does not ask for {sorted(given)[0][:60]!r}")
    return values


def _section(section: Section, given: dict[str, list[str]], prefix: str) -> dict[str, Any]:
    return {one.name: _value(one, texts) for one in section.fields if (texts := given.pop(f"{prefix}.{one.name}", None))}


def _value(one: FormField, texts: list[str]) -> Any:
    about = one.about
    if isinstance(about, Many):
        return texts
    text = texts[0] if len(texts) == 1 else "; ".join(texts)
    if isinstance(about, YesNo):
        return {YES: True, NO: False}.get(text, text)
    if isinstance(about, Number):
        if _WHOLE.fullmatch(text):
            return int(text)
        if _NUMBER.fullmatch(text):
            return float(text.replace(",", "."))
    return text


def written(form: Form, values: Values) -> Iterator[Pair]:
    """The same as a browser would send it."""
    for section in form.sections:
        given = values.get(section.name)
        lines = enumerate(given) if isinstance(given, list) else [(None, given)]
        for number, line in lines:
            prefix = section.name if number is None else f"{section.name}.{number}"
            for one in section.fields:
                if isinstance(line, dict) and one.name in line:
                    for text in texts(line[one.name]):
                        yield f"{prefix}.{one.name}", text


def texts(value: Any) -> list[str]:
    """How an answer is written in a field; several where there are several."""
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    if isinstance(value, bool):
        return [YES if value else NO]
    if isinstance(value, float):
        return [f"{value:.12f}".rstrip("0").rstrip(".")]
    return [str(value)]


def label(one: FormField, value: Any) -> str:
    """An answer in words for a page."""
    if isinstance(value, list):
        return "; ".join(label(one, part) for part in value)
    if isinstance(value, bool):
        return YES if value else NO
    if isinstance(one.about, Number):
        return f"{texts(value)[0]}{f' {one.about.unit}' if one.about.unit else ''}"
    if isinstance(one.about, Line):
        return str(value)
    return next((option.title for option in one.options if option.const == value), str(value))
