"""Datasets: which cases, which of their images and which of their answers, frozen for ever and named by what they hold.

The document is JSON with its names in order and nothing between them, in UTF-8; its digest is of these very bytes, which are kept
and handed out as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from datasets.domain.cases import Case, State
from datasets.domain.errors import RecordsAwayError, RefusedError
from datasets.domain.forms import Values
from datasets.domain.versions import Forms

NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
MOST_CASES, LONGEST_SAYS = 20_000, 2000
FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """One case in a dataset.

    Attributes:
        variables: answers to the fields that were chosen, by the fields' paths.
        studies: UIDs of the images, by the UID of their study.
    """

    pseudonym: str
    variables: dict[str, Any]
    studies: dict[str, list[str]]


@dataclass(frozen=True)
class Dataset:
    """One version of a dataset.

    Attributes:
        form: version of the form that the variables are said by.
        says: what it is for.
        variables: the fields that were chosen.
        before: digest of the version before; empty for the first.
    """

    vo: str
    name: str
    version: int
    disease: str
    form: int
    says: str
    variables: tuple[str, ...]
    entries: tuple[Entry, ...]
    before: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the document."""
        return hashlib.sha256(written(self)).hexdigest()

    @property
    def identifier(self) -> str:
        """What to cite: it names the dataset, and proves what it holds."""
        return f"urn:primage:dataset:{self.vo}:{self.name}:{self.version}:sha256-{self.digest}"

    @property
    def instances(self) -> int:
        """How many images it has."""
        return sum(len(uids) for entry in self.entries for uids in entry.studies.values())


@dataclass(frozen=True)
class Difference:
    """What one version has that another has not, by pseudonyms.

    Attributes:
        changed: in both, with other answers or images.
        withdrawn: of those that are gone, the ones whose consent has ended.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]
    variables_added: tuple[str, ...]
    variables_removed: tuple[str, ...]


def frozen(
    vo: str, name: str, says: str, cases: Iterable[Case], variables: Iterable[str], forms: Forms, before: Dataset | None
) -> Dataset:
    """The next version of a dataset, from cases as they are now.

    Raises:
        RefusedError: there are none, or too many, or of several diseases; a case is no complete one; or a variable is no field.
    """
    if not NAME.fullmatch(name):
        raise RefusedError(422, "a dataset's name has small letters, digits and hyphens, begins with a letter and has at most 40")
    if not 1 <= len(says.strip()) <= LONGEST_SAYS or says.encode(errors="replace").decode() != says:
        raise RefusedError(422, f"say what the dataset is for, in at most {LONGEST_SAYS} characters")
    chosen = sorted({case.pseudonym: case for case in cases}.values(), key=lambda case: case.pseudonym)
    if not 1 <= len(chosen) <= MOST_CASES:
        raise RefusedError(422, f"a dataset has 1 to {MOST_CASES} cases, not {len(chosen)}: change what you look for")
    if {(case.vo, case.state) for case in chosen} != {(vo, State.COMPLETE)}:
        raise RefusedError(422, "a dataset is made of complete cases of one VO: take the others out")
    if len({case.disease for case in chosen}) > 1 or (before and before.disease != chosen[0].disease):
        raise RefusedError(422, "a dataset is of one disease, in all its versions: make another one")
    form = forms.newest(chosen[0].disease)
    asked = tuple(sorted(set(variables)))
    if unknown := [path for path in asked if path not in form.fields or not form.fields[path].searchable]:
        raise RefusedError(422, f"{unknown[0][:60]!r} is no field of {form.disease} that a dataset can have")
    return Dataset(
        vo=vo,
        name=name,
        version=before.version + 1 if before else 1,
        disease=form.disease,
        form=form.version,
        says=says.strip(),
        variables=asked,
        entries=tuple(_entry(case, asked, forms) for case in chosen),
        before=before.digest if before else "",
    )


def _entry(case: Case, variables: tuple[str, ...], forms: Forms) -> Entry:
    found = case.searched(forms)
    answers = {path: _at(found, path) for path in variables}
    return Entry(
        case.pseudonym,
        {path: answer for path, answer in answers.items() if answer is not None},
        {study.uid: list(study.instances) for study in case.studies},
    )


def _at(values: Values, path: str) -> Any:
    section, _, name = path.partition(".")
    given = values.get(section)
    if isinstance(given, list):
        return [line.get(name) for line in given]
    return given.get(name) if given else None


def difference(old: Dataset, new: Dataset, withdrawn: frozenset[str]) -> Difference:
    """What has changed from one version to another.

    Args:
        withdrawn: pseudonyms of those whose consent has ended by now.
    """
    was, now = ({entry.pseudonym: entry for entry in one.entries} for one in (old, new))
    removed = tuple(sorted(was.keys() - now.keys()))
    return Difference(
        added=tuple(sorted(now.keys() - was.keys())),
        removed=removed,
        changed=tuple(sorted(name for name in was.keys() & now.keys() if was[name] != now[name])),
        withdrawn=tuple(name for name in removed if name in withdrawn),
        variables_added=tuple(sorted(set(new.variables) - set(old.variables))),
        variables_removed=tuple(sorted(set(old.variables) - set(new.variables))),
    )


def withdrawn_from(dataset: Dataset, withdrawn: frozenset[str]) -> tuple[str, ...]:
    """Of a dataset's cases those whose consent has ended since."""
    return tuple(entry.pseudonym for entry in dataset.entries if entry.pseudonym in withdrawn)


def document_of(dataset: Dataset) -> dict[str, Any]:
    """As it is kept: the text of the document, and what it is found by."""
    return {
        "vo": dataset.vo,
        "name": dataset.name,
        "version": dataset.version,
        "digest": dataset.digest,
        "document": written(dataset).decode(),
    }


def dataset_of(kept: Mapping[str, Any]) -> Dataset:
    """The dataset that was kept.

    Raises:
        RecordsAwayError: it is not what was frozen.
    """
    text = str(kept["document"]).encode()
    if hashlib.sha256(text).hexdigest() != kept["digest"]:
        raise RecordsAwayError(
            f"dataset {kept['name']} {kept['version']} is not what was frozen: restore the records from a backup"
        )
    said = json.loads(text)
    said.pop("format")
    entries = tuple(Entry(**entry) for entry in said.pop("entries"))
    return Dataset(**said | {"entries": entries, "variables": tuple(said["variables"])})


def written(dataset: Dataset) -> bytes:
    """The document."""
    said = {"format": FORMAT, **asdict(dataset)}
    return json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
