"""Versions of forms side by side, and old answers read with a newer one. Pure: what is stored stays as it was written."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from datasets.domain.errors import FormError, RefusedError
from datasets.domain.forms import Form, Values
from datasets.domain.grammar import Earlier


class Forms:
    """All forms that a service knows."""

    def __init__(self, forms: Iterable[Form]) -> None:
        """Take them in.

        Raises:
            FormError: a version is there twice or missing, or does not say how the one before is read.
        """
        self._by: dict[str, dict[int, Form]] = {}
        for form in sorted(forms, key=lambda one: (one.disease, one.version)):
            versions = self._by.setdefault(form.disease, {})
            if form.version != len(versions) + 1:
                raise FormError(f"{form.disease}: version {form.version} comes after {len(versions)}; number them 1, 2, 3 …")
            if form.earlier is not None:
                _require_paths(form, versions.get(form.version - 1))
            versions[form.version] = form

    @property
    def diseases(self) -> tuple[str, ...]:
        """In the order of their names."""
        return tuple(self._by)

    def newest(self, disease: str) -> Form:
        """What new cases are entered with.

        Raises:
            RefusedError: there is no form of that.
        """
        if not (versions := self._by.get(disease)):
            raise RefusedError(404, f"there is no form of that disease; those there are: {', '.join(self._by)}")
        return versions[len(versions)]

    def version(self, disease: str, version: int) -> Form:
        """One of them.

        Raises:
            RefusedError: there is no such version.
        """
        newest = self.newest(disease)
        if not 1 <= version <= newest.version:
            raise RefusedError(404, f"the form of {disease} has versions 1 to {newest.version}")
        return self._by[disease][version]

    def read(self, disease: str, version: int, values: Mapping[str, Any]) -> Values:
        """Answers to one version as the newest asks for them; it may ask for more than they have."""
        read = copy.deepcopy(dict(values))
        for number in range(version + 1, self.newest(disease).version + 1):
            earlier = self.version(disease, number).earlier
            assert earlier is not None  # the constructor and form_of have seen to it
            read = _read(read, earlier)
        return read


def _read(values: Values, earlier: Earlier) -> Values:
    for path in earlier.dropped:
        for place, name in _places(values, path):
            place.pop(name, None)
    # All at once, so that two fields can change names with each other.
    for place, name, new in [(place, name, new) for old, new in earlier.renamed.items() for place, name in _places(values, old)]:
        place.setdefault("\0", {})[new] = place.pop(name)
    for section in list(values):
        for place in _lines(values[section]):
            for new, value in place.pop("\0", {}).items():
                new_section, _, new_name = new.partition(".")
                target = place if new_section == section else values.setdefault(new_section, {})
                target[new_name] = value
    for path, codes in earlier.recoded.items():
        for place, name in _places(values, path):
            given = place[name]
            place[name] = [codes.get(one, one) for one in given] if isinstance(given, list) else codes.get(given, given)
    return values


def _lines(section: Any) -> list[dict[str, Any]]:
    return section if isinstance(section, list) else [section]


def _places(values: Values, path: str) -> list[tuple[dict[str, Any], str]]:
    """Where a field is answered: the object that has it, and its name there."""
    section, _, name = path.partition(".")
    return [(place, name) for place in _lines(values.get(section, {})) if name in place]


def _require_paths(form: Form, before: Form | None) -> None:
    name = f"{form.disease} {form.version}"
    if before is None or form.earlier is None:
        raise FormError(f"{name} says how version {form.version - 1} is read, which is not there")
    repeated = {s.name for one in (before, form) for s in one.sections if s.most}
    for old, new in form.earlier.renamed.items():
        if old not in before.fields or new not in form.fields:
            raise FormError(f"{name}: {old} becomes {new}, but there was or is no such field")
        sections = {old.partition(".")[0], new.partition(".")[0]}
        if len(sections) > 1 and sections & repeated:
            raise FormError(f"{name}: {old} becomes {new}, but lines of a repeated section stay there")
    gone = set(earlier_dropped := form.earlier.dropped)
    if unknown := [path for path in earlier_dropped if path not in before.fields]:
        raise FormError(f"{name} drops {', '.join(unknown)}, which was no field")
    if missing := [path for path in form.earlier.recoded if path not in form.fields]:
        raise FormError(f"{name} recodes {', '.join(missing)}, which is no field")
    for path in before.fields:
        if path not in form.fields and path not in form.earlier.renamed and path not in gone:
            raise FormError(f"{name} has no {path} any more: say what becomes of it, in `renamed` or `dropped`")
