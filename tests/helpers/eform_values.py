"""Answers to a form, as hypothesis draws them: of the right kinds, whether or not the form's rules hold."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from datasets.domain.forms import Form, FormField, Section
from datasets.domain.grammar import Line, Many, Number, YesNo

LETTERS = st.characters(codec="utf-8", exclude_categories=["C", "Z"])


def value_of(one: FormField) -> st.SearchStrategy[Any]:
    """An answer to one field."""
    about = one.about
    answers = st.sampled_from([option.const for option in one.options]) if one.options else st.nothing()
    if isinstance(about, Many):
        return st.lists(answers, min_size=1, unique=True)
    if isinstance(about, Number):
        if about.type == "integer":
            return st.integers(int(about.minimum), int(about.maximum))
        return st.integers(int(about.minimum * 1000), int(about.maximum * 1000)).map(lambda given: given / 1000)
    if isinstance(about, YesNo):
        return st.booleans()
    if isinstance(about, Line):
        return st.text(LETTERS, min_size=1, max_size=about.most)
    return answers


def fields_of(section: Section) -> st.SearchStrategy[dict[str, Any]]:
    """Some answers to a section, with all that it requires."""
    needed = {one.name: value_of(one) for one in section.fields if one.required}
    others = {one.name: value_of(one) for one in section.fields if not one.required}
    return st.fixed_dictionaries(needed, optional=others).filter(bool)


def values_of(form: Form) -> st.SearchStrategy[dict[str, Any]]:
    """Answers to a form."""
    sections = {
        section.name: st.lists(fields_of(section), min_size=1, max_size=3) if section.most else fields_of(section)
        for section in form.sections
    }
    needed = {section.name for section in form.sections if section.required}
    return st.fixed_dictionaries(
        {name: one for name, one in sections.items() if name in needed},
        optional={name: one for name, one in sections.items() if name not in needed},
    )
